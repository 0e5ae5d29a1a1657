"""The two ways to open the image's doors on this desk.

With a container engine `train` and `serve` run in the image; without one the same two commands come from
.venv, with SAGEMAKER_BASE_DIR in the place of /opt/ml. Either way the base directory is laid out as
SageMaker does it.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from desk import Command, DeskError, ask

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
DEFAULT_IMAGE = "sagemaker-image-classifier"
REPORT = ("python", "-m", "image_classifier.insight.report")
# SageMaker's own patience between SIGTERM and SIGKILL, in seconds.
TRAIN_GRACE, SERVE_GRACE = 120, 30
DOCTOR_GRACE = 5
# A desk has other work to do, and threads that spin while they wait for each other make a job on busy cores
# several times slower. SageMaker's hosts do nothing else, so the image leaves this alone.
SHARED_CORES = {"OMP_WAIT_POLICY": "passive"}
# Without a container in between, `serve` itself must stay off the network.
LOOPBACK = {"CLASSIFIER_BIND_TO_HOST": "127.0.0.1"}
NOTHING: Mapping[str, str] = {}


class Way(Protocol):
    """One way to open the two doors; `host` is a name that resolves where `train` runs."""

    host: ClassVar[str]

    @property
    def description(self) -> str:
        """Where the doors are opened, as a phrase."""

    def train(self, base: Path, channels: Mapping[str, Path], variables: Mapping[str, str] = NOTHING) -> Command:
        """The command that trains in a base directory made by `lay_out`; with environment variables."""

    def serve(self, model: Path, port: int, variables: Mapping[str, str] = NOTHING) -> Command:
        """The command that serves a model directory on a port of the loopback address; with environment variables."""

    def report(self, directory: Path) -> Command:
        """The command that makes the report of a job's output anew."""

    def doctor(self, model: Path | None) -> Command:
        """The command that checks host and image, and a model directory where one is given; prints JSON."""


@dataclass(frozen=True)
class InImage:
    """The doors of the image, opened with a container engine."""

    engine: str
    image: str
    flags: tuple[str, ...] = ()  # more of the engine's own, for every door
    host: ClassVar[str] = "algo-1"

    @property
    def description(self) -> str:
        """Where the doors are opened, as a phrase."""
        return f"in the image {self.image} (container engine: {self.engine})"

    def train(self, base: Path, channels: Mapping[str, Path], variables: Mapping[str, str] = NOTHING) -> Command:
        """`train` with the whole base directory as /opt/ml and each channel read-only inside it."""
        mounts = [f"{base}:/opt/ml"]
        for name, source in channels.items():
            inside = mount_point(base, name, source).relative_to(base)
            mounts.append(f"{source}:/opt/ml/{inside}:ro")
        return self._run("train", TRAIN_GRACE, mounts, ["--hostname", self.host, *env_flags(variables)])

    def serve(self, model: Path, port: int, variables: Mapping[str, str] = NOTHING) -> Command:
        """`serve` with the model directory mounted read-only, as SageMaker does."""
        flags = ["-p", f"127.0.0.1:{port}:8080", *env_flags(variables)]
        return self._run("serve", SERVE_GRACE, [f"{model}:/opt/ml/model:ro"], flags)

    def report(self, directory: Path) -> Command:
        """The report's own program, with the directory in the place it has here."""
        return self._run("report", SERVE_GRACE, [f"{directory}:{directory}"], [], (*REPORT, str(directory)))

    def doctor(self, model: Path | None) -> Command:
        """`doctor` on a read-only host without a network."""
        mounts = [f"{model}:/opt/ml/model:ro"] if model else []
        flags = ["--read-only", "--tmpfs", "/tmp", "--network", "none"]
        return self._run("doctor", DOCTOR_GRACE, mounts, flags, ("doctor", "--json"))

    def _run(
        self, door: str, grace: int, mounts: Sequence[str], flags: Sequence[str], words: Sequence[str] = ()
    ) -> Command:
        name = f"{door}-{os.getpid()}-{time.monotonic_ns()}"
        volumes = [word for mount in mounts for word in ("-v", mount)]
        own = (*self._user(), *self._gpus(), *env_flags(SHARED_CORES))
        # Of a flag that is given twice the last one holds.
        argv = (self.engine, "run", "--rm", "--name", name, *own, *flags, *self.flags, *volumes, self.image)
        return Command((*argv, *(words or (door,))), grace, kill=(self.engine, "rm", "--force", name))

    def _user(self) -> Iterator[str]:
        """Flags that make the files written belong to the user; a rootless engine sees to that by itself."""
        if "rootless" not in ask(self.engine, "info", "--format", "{{.SecurityOptions}}"):
            yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        yield from ("--env", "HOME=/tmp")

    def _gpus(self) -> Sequence[str]:
        has_runtime = "nvidia" in ask(self.engine, "info", "--format", "{{.Runtimes}}")
        return ("--gpus", "all") if has_runtime and shutil.which("nvidia-smi") else ()


@dataclass(frozen=True)
class InVenv:
    """The same two commands from a virtual environment."""

    venv: Path
    host: ClassVar[str] = "localhost"

    @property
    def description(self) -> str:
        """Where the doors are opened, as a phrase."""
        return f"in {self.venv.name} (no container engine)"

    def train(self, base: Path, channels: Mapping[str, Path], variables: Mapping[str, str] = NOTHING) -> Command:
        """`train` with its base directory here and each channel linked into it."""
        for name, source in channels.items():
            link(mount_point(base, name, source), source)
        return Command((str(self.venv / "bin" / "train"),), TRAIN_GRACE, {**self._environment(base), **variables})

    def serve(self, model: Path, port: int, variables: Mapping[str, str] = NOTHING) -> Command:
        """`serve` with the model directory linked into a base directory of its own."""
        base = OUT / f"serve-{port}"
        base.mkdir(parents=True, exist_ok=True)
        link(base / "model", model)
        environment = {**self._environment(base), "SAGEMAKER_BIND_TO_PORT": str(port), **LOOPBACK, **variables}
        return Command((str(self.venv / "bin" / "serve"),), SERVE_GRACE, environment)

    def report(self, directory: Path) -> Command:
        """The report's own program."""
        argv = (str(self.venv / "bin" / REPORT[0]), *REPORT[1:], str(directory))
        return Command(argv, SERVE_GRACE, self._environment(directory))

    def doctor(self, model: Path | None) -> Command:
        """`doctor` with the model directory linked into a base directory of its own."""
        base = OUT / "doctor"
        base.mkdir(parents=True, exist_ok=True)
        link(base / "model", model or base / "none")
        return Command((str(self.venv / "bin" / "doctor"), "--json"), DOCTOR_GRACE, self._environment(base))

    def _environment(self, base: Path) -> dict[str, str]:
        """What the image says with ENV, and where /opt/ml is."""
        return {
            **SHARED_CORES,
            "PATH": f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
            "SAGEMAKER_TRAINING_MODULE": "image_classifier.training.entrypoint:main",
            "SAGEMAKER_BASE_DIR": str(base),
        }


def env_flags(variables: Mapping[str, str]) -> list[str]:
    """Environment variables as flags of the engine."""
    return [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]


def find_engine() -> str | None:
    """The docker client to use: ENGINE, or the first on PATH whose engine answers and that can build."""
    named = os.environ.get("ENGINE")
    if named == "none":
        return None
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    on_path = (shutil.which("docker", path=folder) for folder in folders)
    for client in [named] if named else filter(None, on_path):
        # A client without its builder answers, but cannot make the image.
        if ask(client, "info", "--format", "{{.ServerVersion}}") and ask(client, "build", "--help"):
            return client
    if named:
        raise DeskError(f"ENGINE={named} does not answer or cannot build; start it, or say ENGINE=none")
    return None


def choose_way() -> InImage | InVenv:
    """In the image when an engine answers, else in .venv; make has made the one or the other."""
    engine = find_engine()
    if engine:
        image = os.environ.get("IMAGE") or DEFAULT_IMAGE
        if not ask(engine, "image", "inspect", "--format", "{{.Id}}", image):
            raise DeskError(f"there is no image {image}; make it with `make build`")
        return InImage(engine, image)
    venv = ROOT / ".venv"
    if not (venv / "product.stamp").exists():
        raise DeskError("no container engine answers and .venv is not made; make it with `make setup`")
    return InVenv(venv)


def lay_out(base: Path, hyperparameters: Mapping[str, str], channels: Mapping[str, Path], host: str) -> None:
    """Write the base directory as SageMaker does before it starts `train`; checkpoints in it stay."""
    for left in (base / name for name in ("input", "model", "output")):
        if left.exists():
            shutil.rmtree(left)
    for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    channel = {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    config = {
        "hyperparameters": dict(hyperparameters),
        "inputdataconfig": dict.fromkeys(channels, channel),
        "resourceconfig": {"current_host": host, "hosts": [host], "network_interface_name": "eth0"},
    }
    for name, content in config.items():
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(content, indent=2))


def mount_point(base: Path, channel: str, source: Path) -> Path:
    """Make the place where a channel's folder or single file appears; made here, it belongs to the user."""
    place = base / "input" / "data" / channel
    place.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        return place
    (place / source.name).touch()
    return place / source.name


def link(place: Path, target: Path) -> None:
    """Put a link where an empty place or an earlier link is."""
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(target)
