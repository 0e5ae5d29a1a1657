"""Nothing outlives local_sagemaker: its containers bear a label, its processes a variable in their environment.

As a program it waits until its parent is gone, however that went, and then ends what was left:
python -m local_sagemaker.leftovers STATE_FOLDER ENGINE
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from desk import ask

_LABEL, _VARIABLE = "local-sagemaker", "LOCAL_SAGEMAKER"
# A program may be about to start another; an engine may be about to make a container whose client has ended already,
# and that takes longer: the guard looks on until nothing has come for two seconds.
_LOOKS, _GUARDS_LOOKS, _MOST_LOOKS, _BETWEEN_LOOKS = 2, 5, 40, 0.5


def label(state: Path) -> str:
    """What marks the containers of the server that keeps its state here."""
    return f"{_LABEL}={_identity(state)}"


def mark(state: Path) -> dict[str, str]:
    """What marks its processes, and theirs, from their first moment on."""
    return {_VARIABLE: _identity(state)}


def end(state: Path, engine: str | None, looks: int = _LOOKS) -> None:
    """End every container and process that an earlier server with this state has left; so many looks find nothing."""
    quiet = 0
    for _ in range(_MOST_LOOKS):
        found = [*_end_processes(state), *(_end_containers(state, engine) if engine else [])]
        quiet = 0 if found else quiet + 1
        if quiet == looks:
            return
        time.sleep(_BETWEEN_LOOKS if engine or found else 0)


def _end_processes(state: Path) -> Iterator[int]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_VARIABLE) == _identity(state):
                process.kill()
                yield process.pid


def _end_containers(state: Path, engine: str) -> list[str]:
    containers = ask(engine, "ps", "--all", "--quiet", "--filter", f"label={label(state)}").split()
    if containers:
        ask(engine, "rm", "--force", *containers)
    networks = ask(engine, "network", "ls", "--quiet", "--filter", f"label={label(state)}").split()
    if networks:
        ask(engine, "network", "rm", *networks)
    return containers + networks


def _identity(state: Path) -> str:
    return hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]


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
    end(Path(sys.argv[1]), sys.argv[2] or None, _GUARDS_LOOKS if sys.argv[2] else _LOOKS)
