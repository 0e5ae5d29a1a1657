"""Behind `train`: the framework module that sagemaker-training's command calls. Only wires.

The toolkit finds `main` through SAGEMAKER_TRAINING_MODULE, and turns what it raises into the exit code.
"""

import logging
import sys
from pathlib import Path

from sagemaker_training import environment
from sagemaker_training.errors import ClientError

from image_classifier.contract import Layout, Settings
from image_classifier.errors import ExitCode, UserError, exit_code, sentence, write_failure
from image_classifier.training import log_format
from image_classifier.training.stopping import Stop, Stopped

# before the toolkit configures its own handler; metric lines and log lines share one stream, in order
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """Tells the toolkit the exit code: it takes `errno`."""

    def __init__(self, reason: str, code: ExitCode) -> None:
        super().__init__(reason)
        self.errno = int(code)


def main() -> None:
    """Run the job: the user's own script when one was given, else our training."""
    stop = Stop()
    stop.listen()
    layout = Layout(environment_base())
    layout.failure.unlink(missing_ok=True)  # of an earlier run in the same directory
    try:
        _run(layout, stop)
    except Exception as error:
        reason = reason_of(error)
        write_failure(layout.failure, reason)
        if isinstance(reason, UserError):
            raise ClientError(str(reason)) from None  # the toolkit prints it without a traceback
        raise JobFailed(sentence(reason), exit_code(reason)) from error


def environment_base() -> Path:
    """The toolkit moves the base directory when there is no /opt/ml; ask it, not the environment."""
    return Path(environment.base_dir)


def _run(layout: Layout, stop: Stop) -> None:
    settings = Settings.from_environment()
    log_format.apply(settings)
    env = _toolkit_environment()
    if env.user_entry_point:
        from image_classifier.training import script_mode

        return script_mode.run(env, stop)
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
