"""Facts of the job, collected while it runs and written as `run.json` beside its results."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from image_classifier.insight.collections import activations
from image_classifier.insight.run_facts import Phase, RunFacts
from image_classifier.training import doubles
from image_classifier.training.costs import Costs
from image_classifier.training.dataset import Dataset

_NORMALIZING = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)


@dataclass
class Chronicle:
    """What is known so far."""

    costs: Costs = field(default_factory=Costs)
    facts: dict[str, Any] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, passes: float = 1.0) -> Iterator[None]:
        """Around one stretch of the job; it is kept however it ends. See Costs.during."""
        start = time.time()
        try:
            with self.costs.during(name, passes):
                yield
        finally:
            self.phases.append(Phase(name=name, start=start, end=time.time()))

    def note(self, **facts: Any) -> None:
        """Keep facts, by the names of RunFacts."""
        self.facts |= facts

    def write(self, folder: Path) -> None:
        """Write `run.json` into the folder of the job's results."""
        RunFacts(**self.facts, phases=tuple(self.phases), seconds=self.costs.seconds()).write(folder)


def of_data(data: Dataset) -> dict[str, Any]:
    """Facts of the pictures."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    later = {name: split for name, split in splits.items() if split is not None and split is not data.train}
    return {
        "classes": data.classes,
        "class_counts": data.train.counts(),
        "counts": {name: len(split) for name, split in splits.items() if split is not None},
        "duplicates": {name: doubles.count(data.train.paths, split.paths) for name, split in later.items()},
        "test_in_validation": doubles.count(data.validation.paths, data.test.paths) if data.test else 0,
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
