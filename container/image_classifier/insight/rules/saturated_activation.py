"""SaturatedActivation."""

from image_classifier.insight.rules.rule import AWS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Inputs of tanh and sigmoid that lie where the function is flat."""
    kinds = {name: kind for name, kind in run.facts.activations.items() if kind in ("Tanh", "Sigmoid")}
    if run.facts.activations and not kinds:
        raise NotEvaluated("the network has neither tanh nor sigmoid")
    need(kinds, "run.json does not name the activations")
    ranges = {
        "Tanh": (limits["min_tanh"], limits["max_tanh"]),
        "Sigmoid": (limits["min_sigmoid"], limits["max_sigmoid"]),
    }
    points = []
    for a in run.trial.summaries("activation"):
        if a.subject in kinds:
            low, high = ranges[kinds[a.subject]]
            outside = _share_outside(a.min, a.p5, a.p95, a.max, low, high)
            points.append(Point(a.step, outside, a.subject, outside > limits["threshold_layer"]))
    need(points, "no inputs of tanh or sigmoid were saved")
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"At least {worst.value:.0f} % of the inputs of {worst.subject} lie where it is flat, in step {worst.step} "
        f"(threshold {limits['threshold_layer']:g} %)."
    )
    return Finding(points, reason, worst.value, limits["threshold_layer"])


def _share_outside(least: float, p5: float, p95: float, most: float, low: float, high: float) -> float:
    """Percent of values that are known to lie outside, from five numbers of their distribution."""
    below = 100.0 if most < low else 95.0 if p95 < low else 5.0 if p5 < low else 0.0
    above = 100.0 if least > high else 95.0 if p5 > high else 5.0 if p95 > high else 0.0
    return min(100.0, below + above)


_RANGES = {"min_tanh": -9.4999, "max_tanh": 9.4999, "min_sigmoid": -23.0, "max_sigmoid": 16.99999}
RULE = Rule(
    name="SaturatedActivation",
    meaning="Inputs of tanh and sigmoid so large that the function is flat there: no gradient passes.",
    advice="Normalise the inputs, add normalization before the activation, or use ReLU.",
    source=AWS,
    aws={**_RANGES, "threshold_layer": 50.0},
    tuned={
        **_RANGES,
        "min_tanh": -4.0,
        "max_tanh": 4.0,
        "min_sigmoid": -8.0,
        "max_sigmoid": 8.0,
        "threshold_layer": 50.0,
    },
    look=look,
)
