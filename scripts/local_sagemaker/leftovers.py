"""Nothing outlives local_sagemaker: containers by their label, processes by their number.

As a program it waits until its parent is gone, however that went, and then ends what was left:
python -m local_sagemaker.leftovers STATE_FOLDER ENGINE
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from desk import ask

LABEL = "local-sagemaker"


def label(state: Path) -> str:
    """What marks the containers of the server that keeps its state here."""
    return f"{LABEL}={hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]}"


def note(state: Path, pid: int) -> None:
    """Write down a process that must not outlive us; removed by `forget`."""
    with contextlib.suppress(psutil.Error):
        folder = state / "processes"
        folder.mkdir(exist_ok=True)
        (folder / str(pid)).write_text(json.dumps(psutil.Process(pid).create_time()))


def forget(state: Path, pid: int) -> None:
    """The process has ended."""
    (state / "processes" / str(pid)).unlink(missing_ok=True)


def end(state: Path, engine: str | None) -> None:
    """End every container and process that an earlier server with this state has left."""
    if engine:
        containers = ask(engine, "ps", "--all", "--quiet", "--filter", f"label={label(state)}").split()
        if containers:
            ask(engine, "rm", "--force", *containers)
    for file in (state / "processes").glob("[0-9]*"):
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            _end_process(int(file.name), json.loads(file.read_text()))
        file.unlink(missing_ok=True)


def _end_process(pid: int, created: float) -> None:
    process = psutil.Process(pid)
    if process.create_time() != created:  # the number is another's now
        return
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.killpg(pid, signal.SIGKILL)


@contextmanager
def guarded(state: Path, engine: str | None) -> Iterator[None]:
    """A process beside this one that ends what is left, should this one be killed."""
    argv = [sys.executable, "-m", "local_sagemaker.leftovers", str(state), engine or ""]
    path = str(Path(__file__).resolve().parent.parent)
    guard = subprocess.Popen(
        argv, stdin=subprocess.PIPE, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        yield
    finally:
        guard.communicate()


if __name__ == "__main__":
    sys.stdin.read()  # to its end: that is when nobody holds the other side any more
    end(Path(sys.argv[1]), sys.argv[2] or None)
