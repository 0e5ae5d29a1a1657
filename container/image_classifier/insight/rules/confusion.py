"""Confusion."""

import csv

import numpy as np

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Predictions, Run
from image_classifier.insight.trial import Array
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of each class that is recognised; tuned: compared with the others."""
    table = _table(run)
    counts = table.sum(1)
    need((counts > 0).any(), "neither confusion.csv nor predictions of validation were recorded")
    recalls = {n: float(table[n, n] / counts[n]) for n in range(len(table)) if counts[n] >= limits["samples"]}
    need(len(recalls) > 1, f"fewer than two classes have {limits['samples']:g} evaluated pictures")
    overall = float(np.trace(table) / counts.sum())
    floor = limits["min_diag"] * (overall if limits["relative"] else 1.0)
    off = table - np.diag(np.diag(table))
    points = [
        Point(n, recall, _name(run, n), recall < floor or _mixed(off, counts, n, limits))
        for n, recall in recalls.items()
    ]
    worst = min(points, key=lambda point: point.value)
    reason = (
        f"{worst.subject} is recognised in {100 * worst.value:.0f} % of its pictures (at least {100 * floor:.0f} %); "
        f"over all classes it is {100 * overall:.0f} %."
    )
    return Finding(points, reason, worst.value, floor)


def _mixed(off: Array, counts: Array, n: int, limits: Limits) -> bool:
    return bool(off[n].max() / counts[n] > limits["max_off_diag"])


def _table(run: Run) -> Array:
    """Confusion, int64 [true class, predicted class]: of the test split, or of the last recorded evaluation."""
    path = run.files.data / "confusion.csv" if run.files.data else None
    if path is not None and path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            return np.array([row[1:] for row in list(csv.reader(file))[1:]], dtype=np.int64)
    found = _last_evaluation(run)
    size = 1 + max((int(max(p.labels.max(), p.predicted.max())) for p in found), default=0)
    table = np.zeros((size, size), dtype=np.int64)
    for p in found:
        np.add.at(table, (p.labels, p.predicted), 1)
    return table


def _last_evaluation(run: Run) -> list[Predictions]:
    last = max(run.trial.steps("TRAIN"), default=0)
    found = run.predictions("EVAL")
    return [p for p in found if p.step > last] or found[-1:]


def _name(run: Run, number: int) -> str:
    return run.facts.classes[number] if number < len(run.facts.classes) else f"class {number}"


RULE = Rule(
    name="Confusion",
    meaning="Classes that are taken for another one.",
    advice="Look at the mistakes of this class: wrong labels, too few pictures, or two classes that look the same.",
    source=f"{AWS}; as documented it fails for almost any problem with three classes or more",
    aws={"min_diag": 0.9, "max_off_diag": 0.1, "samples": 1, "relative": False},
    tuned={"min_diag": 0.3, "max_off_diag": 0.8, "samples": 10, "relative": True},
    look=look,
)
