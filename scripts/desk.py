"""Processes on the user's desk: start one, ask one, stop one gracefully."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeskError(Exception):
    """Something the user can put right; the message says how."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM came; raised in the main thread so that `with` blocks stop what they started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Command:
    """A process to start, and what ends it when it does not stop by itself."""

    argv: tuple[str, ...]
    grace: int
    environment: Mapping[str, str] = field(default_factory=dict)
    kill: tuple[str, ...] = ()


class Running:
    """A started command."""

    def __init__(self, command: Command, output: IO[bytes] | int | None = None) -> None:
        self.command = command
        # A session of its own: Ctrl-C reaches only us, and we pass it on as SageMaker's SIGTERM.
        self.process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )

    def stop(self) -> int:
        """SIGTERM, patience, and only then the end by force; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(self.command.grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """The end by force, at once; the exit code."""
        if self.command.kill:
            subprocess.run(self.command.kill, check=False, capture_output=True)
        self.process.kill()
        return self.process.wait()


@contextmanager
def running(command: Command, output: IO[bytes] | int | None = None) -> Iterator[Running]:
    """A command that is started now and stopped gracefully when the block is left, however it is left."""
    started: Running | None = None
    try:
        with signals_held():
            started = Running(command, output)
        yield started
    finally:
        if started:
            started.stop()


def run(command: Command) -> int:
    """Run a command to its end, or to the graceful end that Ctrl-C or SIGTERM asks for; its exit code."""
    started: Running | None = None
    try:
        with signals_held():
            started = Running(command)
        code = started.process.wait()
    except Stopped:
        if not started:
            raise
        code = started.stop()
    return code if code >= 0 else 128 - code


def raise_on_signals() -> None:
    """Turn the first Ctrl-C or SIGTERM into Stopped; more of them change nothing."""

    def leave(number: int, _: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        print("stopping ...", file=sys.stderr, flush=True)
        raise Stopped(number)

    for each in STOP_SIGNALS:
        signal.signal(each, leave)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is done, so that nothing started in it is forgotten."""
    came: list[int] = []
    handlers = {each: signal.signal(each, lambda number, _: came.append(number)) for each in STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    if came:
        signal.raise_signal(came[0])


def ask(*argv: str) -> str:
    """What a command prints, or nothing when it fails or does not answer."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
