"""What only the desk can see: its engine, disk and AWS credentials, and the image from outside."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import check_desk
from desk import DeskError, ask
from ways import ROOT, find_engine

GB, GIB = 10**9, 1 << 30
ROOM = 25 * GIB  # a first build: the image, the stage that installs, the downloads
MEMORY = 4 * GIB
SERVERLESS = 10 * GB  # largest image of a serverless endpoint
CAPABILITIES = "com.amazonaws.sagemaker.capabilities"
LABELS = {
    f"{CAPABILITIES}.multi-models": "multi-model endpoints refuse it",
    f"{CAPABILITIES}.accept-bind-to-port": "inference pipelines refuse it",
}
# The host injects its GPU driver into containers that ask for it.
GPU_VARIABLES = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}


@dataclass(frozen=True)
class Finding:
    """What one check found, as the image's own `doctor` says it: ok, warning or problem, and the remedy."""

    status: str
    what: str
    remedy: str = ""


def desk(port: int) -> list[Finding]:
    """Everything `make` needs here, and what a push needs."""
    checks: list[Callable[[], Finding]] = [engine, room, memory, lambda: free_port(port), aws]
    return [check() for check in checks]


def engine() -> Finding:
    """A container engine that can build; without one, whether .venv can be made."""
    try:
        client = find_engine()
    except DeskError as error:
        return Finding("problem", str(error))
    if client is None:
        return _no_engine()
    version = ask(client, "version", "--format", "{{.Server.Version}} ({{.Server.Os}}/{{.Server.Arch}})").strip()
    what = f"container engine: {client}, {version}"
    if "--progress" not in ask(client, "build", "--help") and "podman" not in client:
        return Finding("problem", f"{what}, without BuildKit", "install Docker 20.10 or newer, with its buildx plugin")
    if shutil.which("nvidia-smi") and "nvidia" not in ask(client, "info", "--format", "{{.Runtimes}}"):
        return Finding("warning", f"{what}, which cannot hand on the GPU", "install nvidia-container-toolkit")
    return Finding("ok", f"{what}, with BuildKit")


def _no_engine() -> Finding:
    why = "none is wanted (ENGINE=none)" if os.environ.get("ENGINE") == "none" else "none answers"
    missing = check_desk.problem()
    if missing:
        return Finding("problem", f"container engine: {why}, and .venv cannot be made: {missing}", "start Docker")
    return Finding("ok", f"container engine: {why}, so .venv does the same job")


def room() -> Finding:
    """Disk for a first build."""
    free = shutil.disk_usage(ROOT).free
    what = f"disk: {free / GIB:.0f} GiB free"
    if free >= ROOM:
        return Finding("ok", what)
    return Finding("warning", what, f"a first build takes {ROOM // GIB} GiB: make room, or move the engine's data")


def memory() -> Finding:
    """Memory of this machine."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    what = f"memory: {size / GIB:.1f} GiB, {os.cpu_count()} cores"
    if size >= MEMORY:
        return Finding("ok", what)
    return Finding("warning", what, "choose a small architecture, such as mobilenet_v3_small, and a small batch_size")


def free_port(port: int) -> Finding:
    """Where `make serve` would listen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding("warning", f"port {port} is taken ({error.strerror})", "say another: `make serve PORT=8081`")
    return Finding("ok", f"port {port} is free")


def aws() -> Finding:
    """Credentials, asked of AWS itself; only a push and SageMaker need them."""
    needed = "only `make push`, `make infra` and SageMaker itself need it"
    if not shutil.which("aws"):
        return Finding("warning", "the AWS CLI is not on PATH", f"{needed}: pip install awscli")
    patience = ("--cli-connect-timeout", "5", "--cli-read-timeout", "10")
    region = (
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ask("aws", "configure", "get", "region")
    )
    where = ("--region", region.strip() or "us-east-1")
    who = ask("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text", *where, *patience).strip()
    if not who:
        return Finding("warning", "AWS credentials: none that work", f"{needed}: `aws configure`, or `aws sso login`")
    if not region.strip():
        return Finding("warning", f"AWS: {who}, but no region is set", "aws configure set region us-east-1")
    return Finding("ok", f"AWS: {who} in {region.strip()}")


def image(client: str, name: str) -> list[Finding]:
    """The image as SageMaker sees it before it starts it."""
    said = ask(client, "image", "inspect", name)
    if not said:
        return [Finding("problem", f"{client} does not describe the image {name}", "run `make doctor` again")]
    described: dict[str, Any] = json.loads(said)[0]
    config = described["Config"]
    findings = [size_and_platform(name, described), start(config), labels(config), gpu_variables(config)]
    return [*findings, *media_type(described)]


def size_and_platform(name: str, described: dict[str, Any]) -> Finding:
    """SageMaker takes linux/amd64 on all but Graviton instances, and no index of several platforms."""
    platform = f"{described['Os']}/{described['Architecture']}"
    what = f"{name}: {platform}, {described['Size'] / GB:.1f} GB"
    if platform != "linux/amd64":
        remedy = "build it with PLATFORM=linux/amd64, or use Graviton instances (ml.c7g) only"
        return Finding("problem", what, remedy)
    if described["Size"] > SERVERLESS:
        return Finding("warning", what, "serverless endpoints take 10 GB at most")
    return Finding("ok", what)


def start(config: dict[str, Any]) -> Finding:
    """SageMaker passes one word, `train` or `serve`."""
    if config.get("Entrypoint"):
        what = f"ENTRYPOINT {config['Entrypoint']} comes before the words `train` and `serve`"
        return Finding("warning", what, "leave ENTRYPOINT out, or let it run its arguments")
    return Finding("ok", f"no ENTRYPOINT in the way; without a word it runs {config.get('Cmd')}")


def labels(config: dict[str, Any]) -> Finding:
    """Two capabilities must be declared."""
    found = config.get("Labels") or {}
    missing = [f"{label} is not true, so {lost}" for label, lost in LABELS.items() if found.get(label) != "true"]
    if missing:
        return Finding("problem", f"labels: {'; '.join(missing)}", "keep the LABEL lines of docker/Dockerfile")
    return Finding("ok", f"labels: version {found.get('org.opencontainers.image.version')}, multi-models, bind-to-port")


def gpu_variables(config: dict[str, Any]) -> Finding:
    """Without these no driver comes in; with a requirement, an old driver keeps the container from starting."""
    names = {item.partition("=")[0] for item in config.get("Env") or []}
    if names < names | GPU_VARIABLES:
        missing = ", ".join(sorted(GPU_VARIABLES - names))
        return Finding("problem", f"{missing} is not set, so a host gives it no GPU", "keep it in docker/Dockerfile")
    if "NVIDIA_REQUIRE_CUDA" in names:
        what = "NVIDIA_REQUIRE_CUDA is set: on a host with an older driver it ends without one line of log"
        return Finding("warning", what, "build on a base image without it")
    return Finding("ok", "asks its host for GPUs, and starts on any driver")


def media_type(described: dict[str, Any]) -> list[Finding]:
    """Only engines that keep images in containerd's store say which form they would push."""
    kind = (described.get("Descriptor") or {}).get("mediaType", "")
    if "oci" not in kind:
        return []
    remedy = "build it with `make build`, and push it with `make push`, which checks what arrived"
    return [Finding("warning", f"stored as {kind}, which SageMaker refuses", remedy)]
