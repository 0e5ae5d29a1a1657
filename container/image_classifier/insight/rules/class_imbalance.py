"""ClassImbalance."""

import numpy as np

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Array
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Largest by smallest number of pictures of a class."""
    counts = _counts(run, limits)
    ratio = float(counts.max() / counts.min()) if counts.min() else float("inf")
    points = [Point(number, float(count), _name(run, number)) for number, count in enumerate(counts)]
    most, least = int(counts.argmax()), int(counts.argmin())
    reason = (
        f"{_name(run, most)} has {counts[most]} pictures and {_name(run, least)} has {counts[least]}: "
        f"{ratio:.3g} times as many (threshold {limits['threshold_imbalance']:g})."
    )
    return Finding(points, reason, ratio, limits["threshold_imbalance"], ratio > limits["threshold_imbalance"])


def _counts(run: Run, limits: Limits) -> Array:
    """Training pictures of each class: from `run.json`, or else the labels of the recorded batches."""
    if run.facts.class_counts:
        return np.array(run.facts.class_counts)
    labels = [np.ravel(tensor.value).astype(np.int64) for tensor in run.trial.tensors("label")]
    need(labels, "neither the pictures of each class nor labels were recorded")
    seen = np.concatenate(labels)
    need(len(seen) >= limits["samples"], f"{len(seen)} labels were recorded, and it takes {limits['samples']:g}")
    return np.bincount(seen, minlength=max(2, len(run.facts.classes)))


def _name(run: Run, number: int) -> str:
    return run.facts.classes[number] if number < len(run.facts.classes) else f"class {number}"


RULE = Rule(
    name="ClassImbalance",
    meaning="Classes with many more pictures than others: the small ones are hardly learned.",
    advice="Collect pictures of the small classes, or show them more often; one class alone cannot be learned.",
    source=AWS,
    aws={"threshold_imbalance": 10.0, "samples": 500},
    tuned={"threshold_imbalance": 10.0, "samples": 200},
    look=look,
)
