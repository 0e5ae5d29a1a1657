"""For a user's own training script in this image: end in time, go on where an earlier start was, tell metrics.

Such a script:

    from image_classifier.script import log_metric, resume_or_start, should_stop

    course = resume_or_start(network=network, optimizer=optimizer)
    for epoch in range(course.epoch, 10):
        loss = train_one_epoch(network, optimizer)  # the script's own
        log_metric(epoch=epoch + 1, train_loss=loss)
        course.save(epoch + 1)
        if should_stop():
            break
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from image_classifier.contract import Layout, Settings
from image_classifier.training.checkpoint import KEEP, Checkpoints
from image_classifier.training.metrics import metric_line
from image_classifier.training.stopping import Stop

logger = logging.getLogger(__name__)

LARGE = 1 << 30  # bytes of a checkpoint, which SageMaker copies to S3 while the job runs


class Stateful(Protocol):
    """A network, an optimizer, a schedule: what torch can save."""

    def state_dict(self) -> Any:
        """What is saved."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over what was saved."""


@dataclass
class Course:
    """How far the script is."""

    epoch: int  # epochs that are finished
    _parts: Mapping[str, Stateful]
    _checkpoints: Checkpoints

    def save(self, epoch: int) -> None:
        """Save all parts after so many finished epochs, from the main process only; the last two are kept.

        Raises:
            OSError: the disk is full; names the file, and the older checkpoint stays.
        """
        self.epoch = epoch
        if not _is_main():
            return
        state = {"epoch": epoch, "parts": {name: part.state_dict() for name, part in self._parts.items()}}
        size = self._checkpoints.save(state, epoch).stat().st_size
        if size > LARGE:
            logger.warning("A checkpoint has %.1f GB, and %d are kept: save less often.", size / 1e9, KEEP)


def resume_or_start(**parts: Stateful) -> Course:
    """Take over what the newest readable checkpoint holds; without one, the script starts at epoch 0.

    Args:
        parts: what is saved and taken over, by names of your own: `network=network, optimizer=optimizer`.
    """
    _stop()
    checkpoints = Checkpoints(Layout(Settings.from_environment().base_dir).checkpoints, "script")
    state = checkpoints.latest()
    if state is None:
        return Course(0, parts, checkpoints)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return Course(state["epoch"], parts, checkpoints)


def should_stop() -> bool:
    """Whether SageMaker asked the job to end: spot, time limit, early stopping. It kills two minutes later.

    The first call of this or of `resume_or_start`, in the main thread, begins to listen.
    """
    return _stop().requested


def log_metric(epoch: int | None = None, **values: float) -> None:
    """Print one line that the metric definitions of this image read: `epoch=1; train_loss=0.12;`. Main process only."""
    if _is_main():
        print(metric_line(epoch, values), flush=True)


@cache
def _stop() -> Stop:
    stop = Stop()
    stop.listen()
    return stop


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"  # torchrun's
