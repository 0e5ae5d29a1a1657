"""Script mode: a user's own training program, run through the toolkit, with signals passed on to it."""

import logging
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from sagemaker_training import entry_point, environment, process, runner
from sagemaker_training.errors import ExecuteUserScriptError
from sagemaker_training.torch_distributed import TorchDistributedRunner

from image_classifier import machine
from image_classifier.errors import UserError
from image_classifier.training import cluster, endings
from image_classifier.training.forwarding import Forwarding
from image_classifier.training.stopping import Stop

logger = logging.getLogger(__name__)

KEPT_LINES = 50
LATE_SECONDS = 5  # for a process that outlives the program and holds its stderr
TORCHRUN = "sagemaker_torch_distributed_enabled"


def run(env: environment.Environment, stop: Stop) -> None:
    """Run `entry_point` of `source_dir` as the toolkit does.

    Args:
        env: what the toolkit knows about the job.
        stop: has listened so far; from here on the program does.

    Raises:
        UserError: the program failed; its last line comes first.
        Stopped: asked to stop before there was a program to tell.
    """
    logger.info("Script mode: running %s from %s.", env.user_entry_point, env.module_dir)
    _warn_of_shared_memory()
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    program = str(env.user_entry_point)
    told = env.to_env_vars() | cluster.without_shared_memory(_processes(env))
    with Forwarding() as signals, _stderr_kept_in(lines):
        stop.check()
        try:
            # Not capture_error: a shell would stand in between, split arguments at spaces and take the signals.
            entry_point.run(
                uri=env.module_dir,
                user_entry_point=env.user_entry_point,
                args=env.to_cmd_args(),
                env_vars=told,
                runner_type=_runner(env),
            )
            failed = None
        except ExecuteUserScriptError as error:
            failed = int(error.return_code)  # the toolkit has it as text
    if signals.killed:
        raise UserError(f"{program} {signals.complaint()}")
    if failed is not None:
        raise UserError(_explain(program, failed, lines))


class _Torchrun(TorchDistributedRunner):  # type: ignore[misc]
    """The toolkit's runner; its own `run` takes its two arguments in another order, and then loses the exit code."""

    run = process.ProcessRunner.run

    def _setup(self) -> None:
        super()._setup()
        os.environ["GLOO_SOCKET_IFNAME"] = str(self._network_interface_name)
        # torchrun is beside this Python, wherever PATH looks
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _runner(env: environment.Environment) -> runner.RunnerType | process.ProcessRunner:
    """What starts the program: Python, or torchrun on all hosts and GPUs where that was asked for."""
    if not env.additional_framework_parameters.get(TORCHRUN):
        return runner.ProcessRunnerType
    if not str(env.user_entry_point).endswith(".py"):
        raise UserError(f"{TORCHRUN} starts a .py file through torchrun, not {env.user_entry_point}.")
    return _Torchrun(
        env.user_entry_point,
        env.to_cmd_args(),
        env.to_env_vars(),
        _processes(env),
        env.master_hostname,
        env.distribution_hosts,
        env.current_host,
        env.network_interface_name,
        instance_type=env.current_instance_type,
    )


def _processes(env: environment.Environment) -> int:
    """How many of the program run on this host: one a GPU where torchrun starts it."""
    return int(env.num_gpus) or 1 if env.additional_framework_parameters.get(TORCHRUN) else 1


def _warn_of_shared_memory() -> None:
    """A DataLoader's worker that finds /dev/shm full dies of a bus error, without a word about why."""
    shared = machine.shared_memory()
    if shared < machine.ENOUGH_SHARED:
        logger.warning(
            "/dev/shm is %d MiB: where DataLoader workers die of a bus error, use num_workers=0.", shared >> 20
        )


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

    reader = Thread(target=pass_on, daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(before, 2)  # closes our end: the reader comes to its end with the last writer
        reader.join(LATE_SECONDS)


def _explain(program: str, code: int, output: Iterable[str]) -> str:
    lines = [re.sub(r"^\[rank\d+\]:", "", line.strip()).strip() for line in output if line.strip()]
    exceptions = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    own = [line for line in exceptions if "ChildFailedError" not in line]  # torchrun's, which says nothing
    reason = (own or lines or ["see the log"])[-1]
    ended = endings.of(code)
    if ended:
        return f"{program} was ended by {endings.words(ended)} (exit code {code}): {reason}"
    return f"{program} failed with exit code {code}: {reason}"
