"""TensorVariance."""

from image_classifier.insight.rules.rule import AWS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Growth of the variance of each layer's weights since the first saved step."""
    if "max_growth" not in limits:
        raise NotEvaluated("AWS documents no default threshold for this rule")
    first: dict[str, float] = {}
    points = []
    for w in run.trial.summaries("weight"):
        if w.subject in run.matrices:
            base = first.setdefault(w.subject, w.variance)
            growth = w.variance / base if base else 1.0
            points.append(Point(w.step, growth, w.subject, growth > limits["max_growth"]))
    need(points, "no weights of layers were saved")
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"The variance of the weights of {worst.subject} grew {worst.value:.3g}-fold until step {worst.step} "
        f"(threshold {limits['max_growth']:g})."
    )
    return Finding(points, reason, worst.value, limits["max_growth"])


RULE = Rule(
    name="TensorVariance",
    meaning="Weights that spread far beyond where they began.",
    advice="Lower the learning rate, or raise weight_decay.",
    source=f"{AWS}; the threshold is ours",
    aws={},
    tuned={"max_growth": 100.0},
    look=look,
)
