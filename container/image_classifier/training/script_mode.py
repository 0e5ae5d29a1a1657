"""Script mode: a user's own training program, run through the toolkit, with signals passed on to it."""

import logging
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil
from sagemaker_training import entry_point, environment, runner
from sagemaker_training.errors import ExecuteUserScriptError

from image_classifier import machine
from image_classifier.errors import UserError

logger = logging.getLogger(__name__)

KEPT_LINES = 50
LATE_SECONDS = 5  # for a process that outlives the program and holds its stderr


def run(env: environment.Environment) -> None:
    """Run `entry_point` of `source_dir` as the toolkit does.

    Raises:
        UserError: the program failed; its last line comes first.
    """
    logger.info("Script mode: running %s from %s.", env.user_entry_point, env.module_dir)
    _warn_of_shared_memory()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _pass_on)
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        with _stderr_kept_in(lines):
            # Not capture_error: a shell would stand in between, split arguments at spaces and take the signals.
            entry_point.run(
                uri=env.module_dir,
                user_entry_point=env.user_entry_point,
                args=env.to_cmd_args(),
                env_vars=env.to_env_vars(),
                runner_type=runner.ProcessRunnerType,
            )
    except ExecuteUserScriptError as error:
        raise UserError(_explain(str(env.user_entry_point), error.return_code, lines)) from None


def _warn_of_shared_memory() -> None:
    """A DataLoader's worker that finds /dev/shm full dies of a bus error, without a word about why."""
    shared = machine.shared_memory()
    if shared < machine.ENOUGH_SHARED:
        logger.info("/dev/shm is %d MiB: where DataLoader workers die of a bus error, use num_workers=0.", shared >> 20)


@contextmanager
def _stderr_kept_in(lines: deque[str]) -> Iterator[None]:
    """Pass on what this process and its children write to stderr, and keep the last lines."""
    before = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def pass_on() -> None:
        with open(reading, "rb") as source:
            for line in source:
                os.write(before, line)
                lines.append(line.decode("utf-8", "replace"))

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(before, 2)  # closes our end: the reader comes to its end with the last writer
        reader.join(LATE_SECONDS)


def _pass_on(number: int, _frame: FrameType | None) -> None:
    """The toolkit forwards no signal: without this, a spot interruption never reaches the program."""
    for child in psutil.Process().children(recursive=True):
        child.send_signal(number)


def _explain(program: str, code: int, output: Iterable[str]) -> str:
    lines = [line.strip() for line in output if line.strip()]
    exceptions = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    reason = (exceptions or lines or ["see the log"])[-1]
    return f"{program} failed with exit code {code}: {reason}"
