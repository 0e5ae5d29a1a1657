"""How good the answers are: accuracy with its uncertainty, each class, confusions, calibration. Numbers only."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_classifier.insight.predictions import Floats, Integers, Predictions

FILE = "evaluation.json"
BINS = 10  # of confidence, equally wide
PAIRS, EXAMPLES, MISTAKES = 6, 3, 12  # how many the report shows


@dataclass(frozen=True)
class ClassQuality:
    """One class. Precision is 0 for a class that is never predicted, recall 0 for one without pictures."""

    label: str
    count: int  # pictures of it
    predicted: int  # pictures said to be of it
    right: int

    @property
    def recall(self) -> float:
        """Share of its pictures that are found."""
        return self.right / self.count if self.count else 0.0

    @property
    def precision(self) -> float:
        """Share of the pictures said to be of it that are."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.count + self.predicted
        return 2 * self.right / both if both else 0.0


@dataclass(frozen=True)
class Pair:
    """Pictures of one class that are taken for another."""

    label: str
    predicted: str
    count: int
    of: int  # pictures of `label`
    rows: tuple[int, ...]  # a few of them, the surest first
    likeness: int | None  # row of a picture that rightly is `predicted`


@dataclass(frozen=True)
class Bin:
    """Pictures whose confidence lies between two bounds."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    accuracy: float


@dataclass(frozen=True)
class Quality:
    """All numbers about one split."""

    split: str
    count: int
    right: int
    interval: tuple[float, float]  # of the accuracy, 95 %
    largest_class: float  # accuracy of always naming the commonest class
    macro_f1: float  # mean over classes that have pictures
    top: int  # k of top-k
    top_accuracy: float
    loss: float
    calibration_error: float
    calibration_error_before: float | None  # at a temperature of 1; None: not known
    classes: tuple[ClassQuality, ...]
    pairs: tuple[Pair, ...]
    mistakes: tuple[int, ...]  # rows, the largest loss first
    bins: tuple[Bin, ...]
    confusion: Integers  # [true class, predicted class]

    @property
    def accuracy(self) -> float:
        """Share of pictures whose first label is right."""
        return self.right / self.count

    def shown(self) -> set[int]:
        """Rows of the pictures that a report shows."""
        likenesses = {pair.likeness for pair in self.pairs if pair.likeness is not None}
        return {*self.mistakes, *likenesses, *(row for pair in self.pairs for row in pair.rows)}

    def describe(self) -> str:
        """One line for the log."""
        low, high = self.interval
        return (
            f"{self.split.capitalize()}: {self.right} of {self.count} pictures right, {self.accuracy:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}); top-{self.top} {self.top_accuracy:.1%}, "
            f"macro-F1 {self.macro_f1:.3f}, calibration error {self.calibration_error:.3f}."
        )

    def write(self, folder: Path) -> None:
        """Write `evaluation.json`: the numbers, and a row for each class."""
        names = ("split", "count", "right", "accuracy", "interval", "largest_class", "macro_f1", "loss")
        values = {name: getattr(self, name) for name in names}
        values |= {f"top_{self.top}_accuracy": self.top_accuracy, "calibration_error": self.calibration_error}
        values |= {"calibration_error_before": self.calibration_error_before}
        values["classes"] = [
            {name: getattr(each, name) for name in ("label", "count", "right", "precision", "recall", "f1")}
            for each in self.classes
        ]
        values["confused"] = [
            {"label": pair.label, "predicted": pair.predicted, "count": pair.count} for pair in self.pairs
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")


def measure(said: Predictions) -> Quality:
    """Measure predictions; there must be at least one."""
    confusion = _confusion(said)
    classes = of_classes(said.labels, confusion)
    right, count = int(said.right.sum()), len(said)
    bins, before = calibration(said.shares[:, 0], said.right), said.uncalibrated
    return Quality(
        split=said.split,
        count=count,
        right=right,
        interval=wilson(right, count),
        largest_class=max(each.count for each in classes) / count,
        macro_f1=macro_f1(classes),
        top=said.choices.shape[1],
        top_accuracy=float((said.choices == said.targets[:, None]).any(1).mean()),
        loss=float(said.losses.mean()),
        calibration_error=calibration_error(said.shares[:, 0], said.right),
        calibration_error_before=None if before is None else calibration_error(before, said.right),
        classes=classes,
        pairs=_pairs(said),
        mistakes=_mistakes(said),
        bins=bins,
        confusion=confusion,
    )


def of_classes(labels: Sequence[str], confusion: Integers) -> tuple[ClassQuality, ...]:
    """Each class, from the confusion [true class, predicted class]."""
    return tuple(
        ClassQuality(label, int(confusion[i].sum()), int(confusion[:, i].sum()), int(confusion[i, i]))
        for i, label in enumerate(labels)
    )


def macro_f1(classes: Sequence[ClassQuality]) -> float:
    """Mean over the classes that have pictures."""
    return float(np.mean([each.f1 for each in classes if each.count]))


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); z is 1.96 for 95 %."""
    share, scale = right / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))  # rounding may pass the share


def calibration(confidence: Floats, right: np.typing.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Sort pictures into bins of confidence; empty bins are left out.

    Args:
        confidence: softmax share of the first choice: [n].
        right: whether it is the true class: [n].
    """
    numbers = np.clip(np.ceil(np.nan_to_num(confidence) * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        Bin(
            i / BINS,
            (i + 1) / BINS,
            int(at.sum()),
            float(np.nan_to_num(confidence[at]).mean()),
            float(right[at].mean()),
        )
        for i in range(BINS)
        if (at := numbers == i).any()
    )


def calibration_error(confidence: Floats, right: np.typing.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by count.

    It is the expected calibration error of Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    return sum(each.count * abs(each.accuracy - each.confidence) for each in calibration(confidence, right)) / len(
        right
    )


def _confusion(said: Predictions) -> Integers:
    confusion = np.zeros((len(said.labels), len(said.labels)), dtype=np.int64)
    np.add.at(confusion, (said.targets, said.choices[:, 0]), 1)
    return confusion


def _pairs(said: Predictions) -> tuple[Pair, ...]:
    """The commonest confusions, more than once each unless there are no such."""
    wrong = np.flatnonzero(~said.right)
    counted = Counter((int(said.targets[row]), int(said.choices[row, 0])) for row in wrong)
    most = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:PAIRS]
    repeated = [item for item in most if item[1] > 1]
    return tuple(_pair(said, true, taken, count) for (true, taken), count in repeated or most)


def _pair(said: Predictions, true: int, taken: int, count: int) -> Pair:
    first = said.choices[:, 0]
    rows = _surest(said, np.flatnonzero((said.targets == true) & (first == taken)))
    likenesses = _surest(said, np.flatnonzero((said.targets == taken) & (first == taken)))
    of = int((said.targets == true).sum())
    return Pair(
        said.labels[true], said.labels[taken], count, of, rows[:EXAMPLES], likenesses[0] if likenesses else None
    )


def _surest(said: Predictions, rows: Integers) -> tuple[int, ...]:
    order = np.argsort(-said.shares[rows, 0], kind="stable")
    return tuple(int(row) for row in rows[order])


def _mistakes(said: Predictions) -> tuple[int, ...]:
    wrong = np.flatnonzero(~said.right)
    order = np.argsort(-said.losses[wrong], kind="stable")
    return tuple(int(row) for row in wrong[order][:MISTAKES])
