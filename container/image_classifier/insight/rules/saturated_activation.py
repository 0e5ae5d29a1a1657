"""SaturatedActivation."""

from statistics import NormalDist

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
            outside = _share_outside(a.mean, a.variance**0.5, low, high)
            points.append(Point(a.step, outside, a.subject, outside > limits["threshold_layer"]))
    need(points, "no inputs of tanh or sigmoid were saved")
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"About {worst.value:.0f} % of the inputs of {worst.subject} lie where it is flat, in step {worst.step} "
        f"(threshold {limits['threshold_layer']:g} %)."
    )
    return Finding(points, reason, worst.value, limits["threshold_layer"])


def _share_outside(mean: float, deviation: float, low: float, high: float) -> float:
    """Percent of values outside, taking them for normally distributed: summaries keep no single values."""
    if not deviation > 0:
        return 0.0 if low <= mean <= high else 100.0
    values = NormalDist(mean, deviation)
    return 100 * (values.cdf(low) + 1 - values.cdf(high))


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
