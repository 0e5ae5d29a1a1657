"""One training job as the rules see it."""

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from image_classifier.insight.files import RunFiles, find
from image_classifier.insight.run_facts import RunFacts
from image_classifier.insight.system import SystemMetrics, Timeline
from image_classifier.insight.trial import Array, Trial


class Epoch(NamedTuple):
    """Means over one epoch; not a number where they were not recorded."""

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class Predictions(NamedTuple):
    """What the network said about some samples."""

    step: int
    labels: Array  # int64 [n]
    predicted: Array  # int64 [n]
    scores: Array | None  # [n, classes], as the network gave them; None where only classes were recorded


@dataclass
class Run:
    """All that a job left, each part read when a rule asks for it."""

    files: RunFiles
    facts: RunFacts
    trial: Trial
    other: Trial | None = None  # another job, for comparison

    @classmethod
    def open(cls, directory: Path, other: Path | None = None) -> "Run":
        """Open a job's output.

        Raises:
            UserError: there is no such directory.
        """
        files = find(directory)
        facts = RunFacts.read(files.data) if files.data else RunFacts()
        compared = Trial(find(other).tensors) if other else None
        return cls(files, facts, Trial(files.tensors, facts.module), compared)

    @cached_property
    def system(self) -> SystemMetrics:
        """Samples of the machine's use."""
        return SystemMetrics(self.files.system)

    @cached_property
    def timeline(self) -> Timeline:
        """Events of the training process."""
        return Timeline(self.files.framework)

    @cached_property
    def epochs(self) -> list[Epoch]:
        """Means of each epoch: of `history.csv`, or else of the recorded losses."""
        return self._history() or self._epochs_of_losses()

    @cached_property
    def learning(self) -> frozenset[str]:
        """Parameters that learn; those with a recorded gradient where `run.json` does not say."""
        if self.facts.trainable:
            return frozenset(name.removeprefix(f"{self.facts.module}_") for name in self.facts.trainable)
        return frozenset(summary.subject for summary in self.trial.summaries("gradient"))

    @cached_property
    def matrices(self) -> frozenset[str]:
        """Weights of convolutions and linear layers: not those of normalization, and no biases."""
        counts = {summary.subject: summary.size for summary in self.trial.summaries("weight")}
        names = {name for name in counts if name.endswith(("weight", "in_proj_weight"))}
        return frozenset(
            n for n in names if counts[n] != counts.get(n.removesuffix("weight") + "bias") and counts[n] > 1
        )

    def predictions(self, mode: str) -> list[Predictions]:
        """What was predicted in the recorded batches of a mode, with the labels of the same step."""
        labels = {tensor.step: tensor.value for tensor in self.trial.tensors("label", mode)}
        found = []
        for step, _, value in self.trial.tensors("prediction", mode):
            if step in labels and len(value) == len(np.ravel(labels[step])):
                scores = value if value.ndim == 2 else None
                predicted = np.ravel(value) if scores is None else scores.argmax(1)
                found.append(
                    Predictions(step, np.ravel(labels[step]).astype(np.int64), predicted.astype(np.int64), scores)
                )
        return found

    def _history(self) -> list[Epoch]:
        path = self.files.data / "history.csv" if self.files.data else None
        if path is None or not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [Epoch(*(_number(row.get(name)) for name in Epoch._fields)) for row in csv.DictReader(file)]

    def _epochs_of_losses(self) -> list[Epoch]:
        """An epoch ends where evaluation does; without evaluation, after the number of steps that `run.json` says."""
        blocks = [(mode, _mean([loss for _, loss in pairs])) for mode, pairs in self.trial.loss_blocks()]
        if any(mode == "EVAL" for mode, _ in blocks):
            both = [(a[1], b[1]) for a, b in pairwise(blocks) if (a[0], b[0]) == ("TRAIN", "EVAL")]
            return [Epoch(train, math.nan, val, math.nan) for train, val in both]
        size = self.facts.steps_per_epoch
        groups = groupby(self.trial.losses(), lambda pair: pair[0] // size) if size else ()
        return [Epoch(_mean([loss for _, loss in group]), math.nan, math.nan, math.nan) for _, group in groups]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
