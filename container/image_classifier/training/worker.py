"""One process of a distributed job, as torchrun starts it: `python -m image_classifier.training.worker`. Only wires."""

import logging
import os
import sys
from pathlib import Path

from image_classifier.contract import Layout, Settings
from image_classifier.errors import ExitCode, exit_code, sentence
from image_classifier.training import child, distributed, entrypoint, hyperparameters, log_format
from image_classifier.training.heartbeat import Failure
from image_classifier.training.job import Job
from image_classifier.training.stopping import Stop

logger = logging.getLogger(__name__)


def main(reports: Path) -> None:
    """Take part in the job.

    Args:
        reports: where a process that fails leaves the reason, for `train`.
    """
    child.end_with(os.getppid())
    stop = Stop()
    stop.listen()
    code = ExitCode.OK
    try:
        _run(stop)
    except Exception as error:
        failure = why(entrypoint.reason_of(error))
        if failure.code == ExitCode.ALGORITHM:
            logger.exception("%s", failure.reason)
        report = reports / f"{os.getpid()}.json"
        report.write_text(failure.model_dump_json(), encoding="utf-8")
        code = failure.code
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # not by the usual way: network libraries wait for processes that are gone, and a SIGTERM would kill


def _run(stop: Stop) -> None:
    settings = Settings.from_environment()
    layout = Layout(entrypoint.environment_base())
    world = distributed.join()
    log_format.apply(settings)
    if world.local_rank:
        logging.getLogger().setLevel(logging.WARNING)
    chosen = hyperparameters.parse(layout.read_config("hyperparameters.json"))
    Job(layout, settings, chosen, stop, world).run()
    distributed.leave()


def why(error: Exception) -> Failure:
    """What `train` is told about an error."""
    if distributed.is_lost_connection(error):
        text = (str(error).splitlines() or [type(error).__name__])[0]
        return Failure(reason=f"The connection to another process of the job broke ({text})."[:1024], lost=True)
    return Failure(reason=sentence(error)[:1024], code=exit_code(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
