"""What a report is made of: everything that a job left, read once. What is missing stays empty."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from image_classifier.insight import judge, predictions, quality
from image_classifier.insight.predictions import Predictions
from image_classifier.insight.quality import Quality
from image_classifier.insight.run import Run
from image_classifier.insight.run_facts import RunFacts
from image_classifier.insight.verdict import Status, Verdict

_COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Row:
    """One epoch; not a number where a value was not recorded. Losses in nats, accuracies as shares."""

    epoch: int
    train_loss: float = math.nan
    train_accuracy: float = math.nan
    val_loss: float = math.nan
    val_accuracy: float = math.nan
    epoch_seconds: float = math.nan
    images_per_second: float = math.nan


@dataclass(frozen=True)
class Material:
    """All that is known about one job."""

    run: Run
    history: tuple[Row, ...]
    said: Predictions | None
    quality: Quality | None
    verdicts: tuple[Verdict, ...]
    failure: str  # why the job failed; empty when it did not

    @property
    def facts(self) -> RunFacts:
        """What `run.json` tells."""
        return self.run.facts

    @property
    def data(self) -> Path | None:
        """The folder of tables and pictures."""
        return self.run.files.data

    @property
    def best(self) -> Row | None:
        """The epoch that was kept: the best by validation accuracy, then loss; the first of equals."""
        rows = [row for row in self.history if math.isfinite(row.val_accuracy)]
        return max(rows, key=lambda row: (row.val_accuracy, -row.val_loss), default=None)

    def issues(self, kind: str) -> list[Verdict]:
        """Verdicts of a kind, tensor or profiler, that found an issue."""
        return [each for each in self.verdicts if each.status is Status.ISSUE and each.kind == kind]


def gather(directory: Path, verdicts: Sequence[Verdict] | None = None) -> Material:
    """Read a job's output.

    Args:
        directory: any that `insight.files.find` knows.
        verdicts: of the rules, when they have been judged already.

    Raises:
        UserError: there is no such directory.
    """
    run = Run.open(directory)
    said = predictions.read(run.files.data, _labels(run.files.data)) if run.files.data else None
    return Material(
        run=run,
        history=_history(run),
        said=said,
        quality=quality.measure(said) if said else None,
        verdicts=tuple(judge.judge(directory) if verdicts is None else verdicts),
        failure=_failure(directory),
    )


def _history(run: Run) -> tuple[Row, ...]:
    path = run.files.data / "history.csv" if run.files.data else None
    if path is None or not path.is_file():
        return tuple(
            Row(number, *(getattr(epoch, name) for name in _COLUMNS))
            for number, epoch in enumerate(run.epochs, start=1)
        )
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return tuple(_row(number, values) for number, values in enumerate(csv.DictReader(file), start=1))


def _row(number: int, values: dict[str, str]) -> Row:
    epoch = _float(values.get("epoch"))
    names = (*_COLUMNS, "epoch_seconds", "images_per_second")
    return Row(int(epoch) if math.isfinite(epoch) else number, **{name: _float(values.get(name)) for name in names})


def _float(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _labels(data: Path) -> tuple[str, ...]:
    """Labels of all classes in their order, as the head of `confusion.csv` has them."""
    try:
        with (data / "confusion.csv").open(newline="", encoding="utf-8") as file:
            return tuple(next(csv.reader(file))[1:])
    except (OSError, ValueError, StopIteration, csv.Error):
        return ()


def _failure(directory: Path) -> str:
    """The first line of SageMaker's failure file, which has the reason."""
    for path in (directory / "failure", directory / "output" / "failure", directory.parent / "failure"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[0][:1000] if lines else ""
    return ""
