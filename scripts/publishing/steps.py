"""Runs the tools: shows what they print as it comes, tries again what may pass, and explains what does not."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from desk import DeskError
from publishing.failures import Cause, cause_of

TAIL = 100  # Lines of a tool's output in which the cause is looked for.
TRIES = 3
PAUSE_S = 2.0  # Before the second try; the wait doubles with each.


@dataclass(frozen=True)
class Step:
    """A command, what it reads from its standard input, and what it adds to the environment."""

    argv: tuple[str, ...]
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    building: bool = False  # It builds: most of what it prints comes from the programs that the build runs.


class StepFailed(DeskError):
    """A step failed; `output` is the end of what it printed."""

    def __init__(self, what: str, step: Step, output: str) -> None:
        self.cause: Cause | None = cause_of(output, step.building)
        self.output = output
        lines = output.strip().splitlines() or ["it printed nothing"]
        super().__init__(f"{what} failed: {self.cause.sentence if self.cause else lines[-1].strip()}")


def show(what: str, step: Step, tries: int = 1) -> None:
    """Run a step with its lines on standard error; StepFailed after the last try."""
    for number in range(1, tries + 1):
        try:
            return _show(what, step)
        except StepFailed as failed:
            if number == tries or not (failed.cause and failed.cause.passing):
                raise
            pause = PAUSE_S * 2 ** (number - 1)
            print(f"interrupted; trying again in {pause:.0f} s ({number + 1} of {tries})", flush=True)
            time.sleep(pause)


def _show(what: str, step: Step) -> None:
    tail: deque[str] = deque(maxlen=TAIL)
    with _start(what, step, subprocess.STDOUT) as process:
        try:
            _feed(process, step.stdin)
            for line in process.stdout or ():
                tail.append(line)
                sys.stderr.write(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise StepFailed(what, step, "".join(tail))


def ask(what: str, step: Step) -> str:
    """What a step prints on its standard output; StepFailed when it fails."""
    with _start(what, step, subprocess.PIPE) as process:
        output, errors = process.communicate(step.stdin)
    if process.returncode:
        raise StepFailed(what, step, errors or output)
    return output.strip()


def _start(what: str, step: Step, errors: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, **step.environment}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            step.argv, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True, errors="replace"
        )
    except OSError as error:
        raise DeskError(f"{what} failed: {step.argv[0]} cannot be run ({error.strerror})") from error


def _feed(process: "subprocess.Popen[str]", text: str) -> None:
    # A step that has ended already says why by its exit code.
    with suppress(BrokenPipeError):
        if process.stdin:
            process.stdin.write(text)
            process.stdin.close()
