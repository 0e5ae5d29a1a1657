"""Facts of the job, collected while it runs and written as `run.json` beside its results."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from image_classifier.insight import timeline
from image_classifier.insight.collections import activations
from image_classifier.insight.run_facts import Phase, RunFacts
from image_classifier.training import doubles
from image_classifier.training.dataset import Dataset

_NORMALIZING = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)
# phases of the timeline, by what `run.json` calls the time they take
_TIMES = {
    "forward_backward": (timeline.step_phase(True),),
    "waiting": (timeline.STARTING, timeline.WAITING),
    "decode": (timeline.WORKING,),
}


@dataclass
class Chronicle:
    """What is known so far."""

    facts: dict[str, Any] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Around one stretch of the job; it is kept however it ends."""
        start = time.time()
        try:
            yield
        finally:
            self.phases.append(Phase(name=name, start=start, end=time.time()))

    def note(self, **facts: Any) -> None:
        """Keep facts, by the names of RunFacts."""
        self.facts |= facts

    def write(self, folder: Path, seconds: Mapping[str, float]) -> None:
        """Write `run.json`.

        Args:
            folder: where the job's results are.
            seconds: total of each phase of the timeline.
        """
        times = {name: sum(seconds.get(phase, 0.0) for phase in phases) for name, phases in _TIMES.items()}
        times |= {"features": self._length("features"), "evaluation": self._length("validation", "test")}
        RunFacts(**self.facts, phases=tuple(self.phases), seconds=times).write(folder)

    def _length(self, *names: str) -> float:
        return sum((phase.end - phase.start for phase in self.phases if phase.name in names), 0.0)


def of_data(data: Dataset) -> dict[str, Any]:
    """Facts of the pictures."""
    targets = data.train.targets
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "classes": data.classes,
        "class_counts": tuple(targets.count(number) for number in range(len(data.classes))),
        "counts": {name: len(split) for name, split in splits.items() if split is not None},
        "duplicates": {
            name: doubles.count(data.train.paths, split.paths)
            for name, split in splits.items()
            if split is not None and split is not data.train
        },
    }


def of_module(module: nn.Module) -> dict[str, Any]:
    """Facts of what is trained."""
    parameters = dict(module.named_parameters())
    return {
        "module": type(module).__name__,
        "trainable": tuple(name for name, parameter in parameters.items() if parameter.requires_grad),
        "frozen": tuple(name for name, parameter in parameters.items() if not parameter.requires_grad),
        "normalized": any(isinstance(part, _NORMALIZING) for part in module.modules()),
        "activations": activations(module),
    }
