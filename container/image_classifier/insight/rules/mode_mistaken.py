"""ModeMistaken."""

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of the normalization and dropout layers that learn and are in training mode, in each recorded step."""
    points = []
    for mode, wanted in (("TRAIN", 1.0), ("EVAL", 0.0)):
        for step, _, value in run.trial.tensors("statistics/training", mode):
            share = float(np.ravel(value)[0])
            if share == share:  # NaN: there are no such layers
                points.append(Point(step, share, mode.lower(), abs(share - wanted) > limits["tolerance"]))
    need(points, "no step recorded which layers were in training mode")
    broken = [point for point in points if point.broken]
    first = (
        f"; the first is step {broken[0].step} ({broken[0].subject}: {100 * broken[0].value:.0f} %)" if broken else ""
    )
    reason = (
        f"In {len(broken)} of {len(points)} recorded steps the normalization and dropout layers are in the wrong mode"
        f"{first}."
    )
    return Finding(points, reason, float(len(broken)), 0.0)


RULE = Rule(
    name="ModeMistaken",
    meaning="Training with layers in evaluation mode, or evaluation with layers in training mode.",
    advice="Call model.train() before every epoch and model.eval() before every evaluation.",
    source=OURS,
    aws=None,
    tuned={"tolerance": 0.5},
    look=look,
)
