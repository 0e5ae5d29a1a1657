"""DeadRelu."""

from statistics import median

import numpy as np

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of the channels of each layer that are almost never positive; tuned: in the layer's median step."""
    inactive = limits["threshold_inactivity"] / 100
    points = []
    for step, subject, active in run.trial.activities():
        share = 100 * float(np.mean(active < inactive))
        points.append(Point(step, share, subject, share > limits["threshold_layer"]))
    need(points, "no outputs of activations were saved")
    shares = {name: median(p.value for p in points if p.subject == name) for name in {p.subject for p in points}}
    name = max(shares, key=lambda key: shares[key])
    reason = (
        f"{shares[name]:.0f} % of the channels of {name} are positive for less than "
        f"{limits['threshold_inactivity']:g} % of their values (threshold {limits['threshold_layer']:g} %)."
    )
    issue = shares[name] > limits["threshold_layer"] if limits["median"] else None
    return Finding(points, reason, shares[name], limits["threshold_layer"], issue)


RULE = Rule(
    name="DeadRelu",
    meaning="Units that are zero for almost every picture: they pass nothing on and get no gradient.",
    advice="Lower the learning rate, check the biases' first values, or use a leaky ReLU.",
    source=AWS,
    aws={"threshold_inactivity": 1.0, "threshold_layer": 50.0, "median": False},
    tuned={"threshold_inactivity": 1.0, "threshold_layer": 50.0, "median": True},
    look=look,
)
