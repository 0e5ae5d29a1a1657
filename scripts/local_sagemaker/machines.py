"""The instances of this desk: a container of the image where an engine answers, else a process of .venv."""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ways
from desk import Command, Running, ask
from local_sagemaker import leftovers, shapes

_POLL = 0.1
_NO_NETWORK = "none"  # the engine's word


@dataclass(frozen=True)
class Machines:
    """Starts the image's two doors and leaves nothing behind.

    Args:
        way: how doors are opened here.
        state: the server's folder.
    """

    way: ways.InImage | ways.InVenv
    state: Path

    @property
    def in_image(self) -> bool:
        """Whether doors are containers."""
        return isinstance(self.way, ways.InImage)

    def names(self, count: int) -> list[str]:
        """Names of a job's hosts, each of which resolves where `train` runs."""
        if count == 1:
            return [self.way.host]
        return [f"algo-{number}" if self.in_image else f"127.0.0.{number}" for number in range(1, count + 1)]

    @contextmanager
    def network(self, count: int, isolated: bool = False) -> Iterator[str]:
        """What the containers of a job join: the hosts' own network, none for an isolated host, empty for any."""
        if not isinstance(self.way, ways.InImage) or count == 1:
            yield _NO_NETWORK if isolated else ""
            return
        name = f"local-sagemaker-{os.getpid()}-{time.monotonic_ns()}"
        words = ("--internal",) if isolated else ()  # the hosts reach each other, and nothing else
        if not ask(self.way.engine, "network", "create", *words, "--label", leftovers.label(self.state), name):
            raise OSError(f"{self.way.engine} cannot make a network")
        try:
            yield name
        finally:
            ask(self.way.engine, "network", "rm", name)

    def train(
        self, image: str, base: Path, variables: Mapping[str, str], log: Path, flags: Sequence[str] = ()
    ) -> "Machine":
        """Start `train` in a base directory that is laid out; with more of the engine's flags, see below."""
        return self._start(self._way(image, flags).train(base, {}, variables), log)

    def serve(
        self, image: str, model: Path, port: int, variables: Mapping[str, str], log: Path, flags: Sequence[str] = ()
    ) -> "Machine":
        """Start `serve` for a model directory; with more of the engine's flags, see below."""
        return self._start(self._way(image, flags).serve(model, port, variables), log)

    def limits(self, kind: str, log: Path) -> tuple[str, ...]:
        """Flags for the CPUs and memory of an instance type, as far as this host has them; the log says when not."""
        if not isinstance(self.way, ways.InImage):
            return ()
        found = shapes.shape(kind)
        if found:
            return found.within(shapes.of_engine(self.way.engine)).flags
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as stream:
            stream.write(
                f"local_sagemaker: the CPUs and memory of {kind} are not known; this container has no limits\n"
            )
        return ()

    def inside(self, folder: Path, mounted: Path) -> str:
        """The name that a path below the served model directory has for `serve`."""
        return str(Path("/opt/ml/model") / folder.relative_to(mounted)) if self.in_image else str(folder)

    def _way(self, image: str, flags: Sequence[str] = ()) -> ways.InImage | ways.InVenv:
        if not isinstance(self.way, ways.InImage):
            return self.way
        return replace(self.way, image=image, flags=("--label", leftovers.label(self.state), *flags))

    def _start(self, command: Command, log: Path) -> "Machine":
        log.parent.mkdir(parents=True, exist_ok=True)
        marked = replace(command, environment={**command.environment, **leftovers.mark(self.state)})
        with log.open("ab") as output:
            return Machine(Running(marked, output), log)


def serverless(memory_mb: int) -> tuple[str, ...]:
    """Flags for a serverless host: it may write to /tmp only and has little memory."""
    memory = f"{memory_mb}m"
    return ("--read-only", "--tmpfs", "/tmp:exec", "--memory", memory, "--memory-swap", memory)


def joining(network: str, name: str) -> tuple[str, ...]:
    """Flags that put a host into what `network` gave; without any network it still knows its own name."""
    if network == _NO_NETWORK:
        return ("--network", network, "--hostname", name, "--add-host", f"{name}:127.0.0.1")
    return ("--network", network, "--network-alias", name, "--hostname", name) if network else ()


@dataclass
class Machine:
    """A door that was opened."""

    running: Running
    log: Path
    told: float = 0.0  # when it was asked to stop; 0: it was not

    def ended(self) -> bool:
        """Whether it has ended; one that was told to stop is killed when its time is over."""
        if self.running.process.poll() is not None:
            return True
        if self.told and time.monotonic() - self.told > self.running.command.grace:
            self.running.kill()
        return False

    @property
    def exit_code(self) -> int:
        """Of a machine that has ended, as a shell says it."""
        code = self.running.process.wait()
        return code if code >= 0 else 128 - code

    def tell(self) -> None:
        """Send SIGTERM, once; SIGKILL follows when the grace is over, see `ended`."""
        if not self.told and self.running.process.poll() is None:
            self.told = time.monotonic()
            self.running.process.terminate()

    def stop(self) -> None:
        """Tell it to stop and wait for the end."""
        self.tell()
        while not self.ended():
            time.sleep(_POLL)


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
