"""Behind `train`: the framework module that sagemaker-training's command calls. Only wires.

The toolkit finds `main` through SAGEMAKER_TRAINING_MODULE, and turns what it raises into the exit code.
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sagemaker_training import environment
from sagemaker_training.errors import ClientError

from image_classifier.contract import Layout, Settings
from image_classifier.errors import ExitCode, UserError, exit_code, sentence, write_failure
from image_classifier.training import child, log_format
from image_classifier.training.stopping import Stop, Stopped

# before the toolkit configures its own handler; metric lines and log lines share one stream, in order
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """Tells the toolkit the exit code: it takes `errno`."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.errno = code


def main() -> None:
    """Run the job: the user's own script when one was given, else our training, in a process of its own."""
    stop = Stop()
    stop.listen()
    layout = Layout(environment_base())
    layout.failure.unlink(missing_ok=True)  # of an earlier run in the same directory
    code = _explained(layout, partial(_run, layout, stop))
    if code == ExitCode.USER:
        raise ClientError(_reason(layout))  # the toolkit prints it without a traceback
    if code:
        raise JobFailed(_reason(layout), code)


def _explained(layout: Layout, work: Callable[[], int]) -> int:
    """Do the work; gives the exit code, and leaves the reason of a failure in its file."""
    try:
        return work()
    except Exception as error:
        reason = reason_of(error)
        write_failure(layout.failure, reason)
        if not isinstance(reason, UserError):
            logger.exception("%s", sentence(reason))
        return exit_code(reason)


def _reason(layout: Layout) -> str:
    """The sentence in the failure file: often another process wrote it, or could not."""
    try:
        lines = layout.failure.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return (lines or ["The job ended without a word; see the log."])[0]


def environment_base() -> Path:
    """The toolkit moves the base directory when there is no /opt/ml; ask it, not the environment."""
    return Path(environment.base_dir)


def _run(layout: Layout, stop: Stop) -> int:
    settings = Settings.from_environment()
    log_format.apply(settings)
    env = _toolkit_environment()
    if env.user_entry_point:
        from image_classifier.training import script_mode

        script_mode.run(env, stop)
        return ExitCode.OK
    return child.run(partial(_explained, layout, partial(_train, layout, settings, stop)), stop)


def _train(layout: Layout, settings: Settings, stop: Stop) -> int:
    _end_early(layout, stop)
    import torch  # seconds, like what follows

    from image_classifier.training import cluster, hyperparameters
    from image_classifier.training.job import Job

    chosen = hyperparameters.parse(layout.read_config("hyperparameters.json"))
    logger.info("Hyperparameters:\n%s", "\n".join(f"  {line}" for line in chosen.describe()))
    _end_early(layout, stop)
    hosts = cluster.read(layout.read_config("resourceconfig.json"), torch.cuda.device_count())
    if hosts.is_alone:
        Job(layout, settings, chosen, stop).run()
    else:
        cluster.run(hosts, stop)
    return ExitCode.OK


def _end_early(layout: Layout, stop: Stop) -> None:
    """Raise Stopped when a stop was asked for and no earlier run of the job has left anything to save."""
    if not any(layout.checkpoints.glob("checkpoint-*.pt")):
        stop.check()


def _toolkit_environment() -> environment.Environment:
    """What the toolkit knows about the job, without its remarks on GPUs, Neurons and unquoted strings."""
    toolkit = logging.getLogger("sagemaker-training-toolkit")
    level = toolkit.level
    toolkit.setLevel(logging.WARNING)
    try:
        return environment.Environment()
    finally:
        toolkit.setLevel(level)


def reason_of(error: Exception) -> Exception:
    """The error to report: a stop before the first step is one that the caller should read about."""
    if isinstance(error, Stopped):
        return UserError(
            "Training was stopped before its first step since this start, so there is no model; "
            "the next start goes on from the job's last checkpoint, if it has one."
        )
    return error
