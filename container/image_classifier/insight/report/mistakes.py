"""What the network gets wrong: confusion matrix, pairs and single mistakes with pictures, calibration, each class."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_classifier.insight.predictions import PICTURES, Integers, Predictions
from image_classifier.insight.quality import ClassQuality, Pair, Quality
from image_classifier.insight.report.charts import SHADES, Axis, Chart, Series, Table
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import count, number, percent, quoted

NONE = "There is no `predictions.csv`: the job had no test split, or ended before the test."
_MOST_CLASSES = 24  # in the confusion matrix; beyond, those with the most mistakes
_LARGEST_PICTURE = 40_000  # bytes
REST = "all others"


@dataclass(frozen=True)
class Picture:
    """One picture and what was said about it."""

    source: str  # data: URI; empty when there is no picture
    truth: str
    said: str
    confidence: str
    path: str
    loss: str

    @property
    def description(self) -> str:
        """For those who do not see it."""
        return f"{self.truth}, taken for {self.said}" if self.truth != self.said else f"{self.truth}, rightly named"


@dataclass(frozen=True)
class PairShown:
    """Two classes that are confused, and pictures."""

    sentence: str
    pictures: tuple[Picture, ...]
    likeness: Picture | None  # what the class they are taken for looks like


@dataclass(frozen=True)
class Matrix:
    """Counts of true (rows) against predicted (columns) classes, with a shade for each share of its row."""

    sentence: str
    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, int, str], ...]], ...]  # (count, shade, kind)


@dataclass(frozen=True)
class Mistakes:
    """The part of the page about the test split."""

    sentences: tuple[str, ...]
    matrix: Matrix
    pairs: tuple[PairShown, ...]
    worst: tuple[Picture, ...]
    calibration: Chart
    calibration_sentence: str
    calibration_table: Table
    classes: Table


def mistakes(material: Material) -> Mistakes | None:
    """All about the test split; None without predictions."""
    quality, said = material.quality, material.said
    if quality is None or said is None:
        return None
    show = _shower(said, material.data)
    return Mistakes(
        sentences=_sentences(quality),
        matrix=_matrix(quality),
        pairs=tuple(_pair(pair, show) for pair in quality.pairs),
        worst=tuple(show(row) for row in quality.mistakes),
        calibration=_calibration(quality),
        calibration_sentence=_calibration_sentence(quality),
        calibration_table=_calibration_table(quality),
        classes=_classes(quality),
    )


def _sentences(quality: Quality) -> tuple[str, ...]:
    low, high = quality.interval
    return (
        f"{quality.right:,} of {count(quality.count, f'{quality.split} picture')} are named rightly, "
        f"{percent(quality.accuracy)} (Wilson's 95 % interval {percent(low)} to {percent(high)}).",
        f"The right class is among the first {quality.top} for {percent(quality.top_accuracy)}; "
        f"macro-F1 is {number(quality.macro_f1)}; the mean loss is {number(quality.loss)} nats.",
    )


def _shower(said: Predictions, data: Path | None) -> Callable[[int], Picture]:
    def show(row: int) -> Picture:
        return Picture(
            source=_embedded(data / PICTURES / f"{row}.jpg") if data else "",
            truth=said.labels[said.targets[row]],
            said=said.labels[said.choices[row, 0]],
            confidence=percent(float(said.shares[row, 0])),
            path=said.paths[row],
            loss=number(float(said.losses[row])),
        )

    return show


def _embedded(path: Path) -> str:
    """A JPEG as a data: URI; empty where there is none, or none that is small."""
    if not path.is_file() or path.stat().st_size > _LARGEST_PICTURE:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _pair(pair: Pair, show: Callable[[int], Picture]) -> PairShown:
    sentence = f"{quoted(pair.label)} taken for {quoted(pair.predicted)}: {pair.count} of {count(pair.of, 'picture')}."
    likeness = show(pair.likeness) if pair.likeness is not None else None
    return PairShown(sentence, tuple(show(row) for row in pair.rows), likeness)


def _matrix(quality: Quality) -> Matrix:
    labels = [each.label for each in quality.classes]
    confusion, sentence = quality.confusion, f"All {count(len(labels), 'class', 'classes')}."
    if len(labels) > _MOST_CLASSES:
        wrong = confusion.sum(0) + confusion.sum(1) - 2 * confusion.diagonal()
        chosen = sorted(np.argsort(-wrong, kind="stable")[:_MOST_CLASSES].tolist())
        confusion = _folded(confusion, chosen)
        sentence = f"The {_MOST_CLASSES} of {len(labels)} classes with the most mistakes, and {REST}."
        labels = [*(labels[i] for i in chosen), REST]
    rows = tuple((label, _cells(confusion[i], i)) for i, label in enumerate(labels))
    return Matrix(sentence, tuple(labels), rows)


def _folded(confusion: Integers, chosen: list[int]) -> Integers:
    """The chosen classes, and one row and column for the sum of the others."""
    others = np.setdiff1d(np.arange(len(confusion)), chosen)
    rows = np.vstack([confusion[chosen], confusion[others].sum(0, keepdims=True)])
    return np.hstack([rows[:, chosen], rows[:, others].sum(1, keepdims=True)])


def _cells(counts: Integers, own: int) -> tuple[tuple[int, int, str], ...]:
    total = max(1, int(counts.sum()))
    kinds = ("right" if column == own else "wrong" for column in range(len(counts)))
    return tuple(
        (value, min(SHADES - 1, int(SHADES * (value / total) ** 0.5)), kind)
        for value, kind in zip(counts.tolist(), kinds, strict=True)
    )


def _calibration(quality: Quality) -> Chart:
    share = Axis(0.0, 1.0, "confidence", label=lambda value: f"{100 * value:.0f} %")
    accuracy = Axis(0.0, 1.0, "accuracy", label=lambda value: f"{100 * value:.0f} %")
    measured = Series("measured", [(each.confidence, each.accuracy) for each in quality.bins])
    perfect = Series("perfect: confidence = accuracy", [(0.0, 0.0), (1.0, 1.0)], marks=False)
    return Chart("Accuracy of answers by their confidence", share, accuracy, [measured, perfect])


def _calibration_sentence(quality: Quality) -> str:
    confidence = sum(each.count * each.confidence for each in quality.bins) / quality.count
    gap = confidence - quality.accuracy
    side = "surer than it is right" if gap > 0 else "more often right than it is sure"
    return (
        f"The mean confidence is {percent(confidence)} and the accuracy {percent(quality.accuracy)}: "
        f"by {number(100 * abs(gap))} points the network is {side}. "
        f"The expected calibration error is {number(quality.calibration_error)} "
        f"({number(100 * quality.calibration_error)} points between confidence and accuracy on average)"
        f"{_before(quality)}."
    )


def _before(quality: Quality) -> str:
    if quality.calibration_error_before is None:
        return ""
    before = number(quality.calibration_error_before)
    return f"; before the temperature was fitted to the validation pictures, it was {before}"


def _calibration_table(quality: Quality) -> Table:
    rows = [
        [
            f"{percent(each.low)} to {percent(each.high)}",
            f"{each.count:,}",
            percent(each.confidence),
            percent(each.accuracy),
        ]
        for each in quality.bins
    ]
    return Table(["confidence", "pictures", "mean confidence", "accuracy"], rows, "Bins of confidence")


def _classes(quality: Quality) -> Table:
    """Every class, the worst by F1 first."""

    def row(each: ClassQuality) -> list[str]:
        return [each.label, f"{each.count:,}", percent(each.recall), percent(each.precision), number(each.f1)]

    ordered = sorted(quality.classes, key=lambda each: (each.f1, each.label))
    head = ["class", "pictures", "found (recall)", "right when named (precision)", "F1"]
    return Table(head, [row(each) for each in ordered if each.count or each.predicted], "Worst first")
