"""The two doors as a test opens them: in the image when an engine answers, else from the virtual environment.

The commands are those that `make train` and `make serve` use (scripts/ways.py), with a test's own flags added.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import desk
import ways

ENGINE = ways.find_engine()
WAY = ways.choose_way()
IMAGE = WAY.image if isinstance(WAY, ways.InImage) else None
DATA = ways.ROOT.parent / "shared" / "data"
needs_engine = pytest.mark.skipif(ENGINE is None, reason="no container engine answers: this is about a container")

# From scratch on small pictures: seconds, not minutes.
QUICK = {
    "architecture": "resnet18",
    "pretrained": "false",
    "freeze_backbone": "false",
    "image_size": "32",
    "epochs": "1",
    "batch_size": "16",
    "compile": "off",  # takes longer than such a job
}
# A user without a name, on a host that lets him write nowhere but to /tmp.
NOBODY = ("--user", "12345:54321")
# Java loads a library that it unpacks in /tmp, so /tmp must allow that.
READ_ONLY = ("--read-only", "--tmpfs", "/tmp")
# Two jobs that each take all cores wait for each other's threads: ten times slower than one core each.
ONE_CORE = ("--cpus", "1") if ENGINE else ()
NO_NETWORK = ("--network", "none")
_PROCESSES = (
    "import json, psutil; print(json.dumps([(p.pid, ' '.join(p.cmdline()), p.memory_info().rss, p.num_fds()) "
    "for p in psutil.process_iter() if p.status() != 'zombie']))"
)


_ZOMBIES = "import psutil; print(sum(p.status() == 'zombie' for p in psutil.process_iter()))"


@dataclass(frozen=True)
class Process:
    """One process behind a door: its command line, resident bytes and open files."""

    pid: int
    words: str
    memory: int
    files: int


@dataclass
class Opened:
    """A door that was opened, and what can be done to it."""

    running: desk.Running
    log_file: Path
    base: Path

    @property
    def container(self) -> str:
        return self.running.command.kill[-1]

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end; the exit code as a shell says it."""
        code = self.running.process.wait(seconds)
        return code if code >= 0 else 128 - code

    def wait_for(self, words: str, seconds: float = 90) -> None:
        """Wait until the log has these words."""
        end = time.monotonic() + seconds
        while words not in self.log:
            ended = self.running.process.poll()
            assert ended is None, f"ended with {ended} before it said {words!r}:\n{self.log}"
            assert time.monotonic() < end, f"did not say {words!r} within {seconds} s:\n{self.log}"
            time.sleep(0.05)

    def stop(self, patience: int) -> float:
        """Stop as SageMaker does: SIGTERM, patience, SIGKILL; the seconds it took."""
        start = time.monotonic()
        if ENGINE:
            engine("stop", "-t", str(patience), self.container)
        else:
            self.running.process.terminate()
        self.running.process.wait(patience + 10)
        return time.monotonic() - start

    def kill(self) -> None:
        """End every process at once, as a host that is taken away does."""
        if ENGINE:
            engine("kill", self.container)
        else:
            os.killpg(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait(30)

    def processes(self) -> list[Process]:
        """What runs behind the door now."""
        if ENGINE:
            rows = json.loads(self.inside("python", "-c", _PROCESSES))
            return [Process(*row) for row in rows]
        top = psutil.Process(self.running.process.pid)
        family = [top, *top.children(recursive=True)]
        found = []
        for p in family:
            with suppress(psutil.Error):  # a process may end meanwhile
                found.append(Process(p.pid, " ".join(p.cmdline()), p.memory_info().rss, p.num_fds()))
        return found

    def zombies(self) -> int:
        """Processes behind the door that have ended, and that nobody has taken leave of."""
        if ENGINE:
            return int(self.inside("python", "-c", _ZOMBIES))
        found = 0
        for p in psutil.Process(self.running.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                found += p.status() == psutil.STATUS_ZOMBIE
        return found

    def workers(self) -> list[Process]:
        """MMS's worker processes."""
        return [process for process in self.processes() if "model_service_worker" in process.words]

    def lasting(self) -> list[Process]:
        """The front door and Java: what outlives every worker."""
        others = [process for process in self.processes() if "model_service_worker" not in process.words]
        return [process for process in others if "serve" in process.words or "java" in process.words]

    def kill_process(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process behind the door."""
        self.kill_processes([pid], number)

    def kill_processes(self, pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to several processes behind the door, at once."""
        if ENGINE:
            self.inside("bash", "-c", f"kill -{number.value} {' '.join(map(str, pids))}")
        else:
            for pid in pids:
                os.kill(pid, number)

    def inside(self, *words: str) -> str:
        """What a command prints in the running container."""
        return engine("exec", self.container, *words)


@dataclass(frozen=True)
class Finished:
    """A door that closed by itself."""

    code: int
    log: str
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def failure(self) -> str:
        path = self.base / "output" / "failure"
        return path.read_text() if path.exists() else ""


def engine(*words: str) -> str:
    """What an engine command prints; its error output when it fails."""
    assert ENGINE
    done = subprocess.run([ENGINE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(*words: str, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`docker run IMAGE words`, with nothing mounted."""
    argv = [str(ENGINE), "run", "--rm", "--name", f"plain-{os.getpid()}-{time.monotonic_ns()}", *flags]
    return subprocess.run(
        [*argv, str(IMAGE), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def with_flags(
    command: desk.Command, flags: Sequence[str], environment: Mapping[str, str], words: Sequence[str] | None
) -> desk.Command:
    """The command with more flags for the engine, more environment, and other words than the door's name."""
    if not ENGINE:
        assert not flags, "flags are for an engine: mark the test with needs_engine"
        assert words is None, "other words are for an engine: mark the test with needs_engine"
        return replace(command, environment={**command.environment, **environment})
    *head, image, door = command.argv
    pairs = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    return replace(command, argv=(*head, *flags, *pairs, image, *((door,) if words is None else words)))


@contextmanager
def training(
    base: Path,
    hyperparameters: Mapping[str, str],
    channels: Mapping[str, Path],
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    words: Sequence[str] | None = None,
    configs: Mapping[str, str] | None = None,
) -> Iterator[Opened]:
    """`train`, started; ended by force when the block is left before it ends."""
    ways.lay_out(base, hyperparameters, channels, WAY.host)
    for name, content in (configs or {}).items():
        (base / "input" / "config" / f"{name}.json").write_text(content)
    command = with_flags(WAY.train(base, channels), (*ONE_CORE, *flags), environment or {}, words)
    log_file = base / "train.log"
    with log_file.open("wb") as log, desk.running(replace(command, grace=5), log) as process:
        yield Opened(process, log_file, base)


def train(base: Path, hyperparameters: Mapping[str, str], channels: Mapping[str, Path], **more: Any) -> Finished:
    """`train` to its end."""
    with training(base, hyperparameters, channels, **more) as job:
        return Finished(job.wait(240), job.log, base)


def python(code: str, *arguments: str | Path) -> str:
    """What a program prints in the tests' own Python, which has the image's packages."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
