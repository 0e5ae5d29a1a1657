"""What the training loop tells about its steps, and who hears it: smdebug, the profiler's timeline, TensorBoard, rules.

Whatever goes wrong here never ends a training job: one line in the log, and that part is off.
"""

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from torch import nn

from image_classifier.contract import Layout
from image_classifier.insight.places import Places

logger = logging.getLogger(__name__)
T = TypeVar("T")

CONFIG = "debughookconfig.json"
PROFILER_CONFIG = "profilerconfig.json"


@dataclass(frozen=True)
class Course:
    """The steps of a job: how many there are, and how many are done when it resumes."""

    steps: int  # of an epoch
    evaluation_steps: int  # of a validation
    epochs: int
    epochs_done: int = 0
    steps_done: int = 0  # of the epoch that was interrupted


@dataclass(frozen=True)
class Wishes:
    """What a job wants to be told about itself; see the hyperparameters of the same names."""

    debug: Literal["off", "light", "full"] = "light"
    debug_interval: int = 0
    profile_steps: int = 0
    stop_on: tuple[str, ...] = ()
    tensorboard: bool = False


class Hook(Protocol):
    """What the training loop tells."""

    def start(self, module: nn.Module, loss: nn.Module, course: Course) -> None:
        """Watch a module and its loss."""

    def step(self, training: bool) -> AbstractContextManager[None]:
        """Around one step: forward, loss, and in training backward and update."""

    def batches(self, batches: Iterable[T]) -> Iterable[T]:
        """Pass batches on, and measure how long they were waited for."""

    def decoded(self, started: float) -> None:
        """A thread has decoded a picture, beginning at this Unix time."""

    def end_epoch(self, values: dict[str, float]) -> str | None:
        """Take the epoch's numbers; gives a sentence when a rule of `stop_on` says that training should stop."""

    def close(self) -> None:
        """Write what is left."""


class NoHook:
    """Does nothing, and imports nothing."""

    def start(self, module: nn.Module, loss: nn.Module, course: Course) -> None:
        """See Hook."""

    def step(self, training: bool) -> AbstractContextManager[None]:
        """See Hook."""
        return nullcontext()

    def batches(self, batches: Iterable[T]) -> Iterable[T]:
        """See Hook."""
        return batches

    def decoded(self, started: float) -> None:
        """See Hook."""

    def end_epoch(self, values: dict[str, float]) -> str | None:
        """See Hook."""
        return None

    def close(self) -> None:
        """See Hook."""


def create(layout: Layout, wishes: Wishes, use_smdebug: bool = True, on_sagemaker: bool = False) -> Hook:
    """Make the hook; it begins with `start`.

    Args:
        layout: where the platform puts `debughookconfig.json` and `profilerconfig.json`.
        wishes: what the job wants; `debughookconfig.json` overrules `debug=light` and `debug=full`.
        use_smdebug: False switches everything off (`USE_SMDEBUG=false`).
        on_sagemaker: whether the platform's agent samples the machine.
    """
    if not use_smdebug or wishes.debug == "off":
        return NoHook()
    from image_classifier.insight.watching import WatchingHook

    config: dict[str, Any] = layout.read_config(CONFIG)
    if config:
        logger.info("SageMaker Debugger: hook on, configured by %s.", CONFIG)
    places = Places.find(layout, config, layout.read_config(PROFILER_CONFIG), on_sagemaker)
    return WatchingHook(places, config, wishes)
