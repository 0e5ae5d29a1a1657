"""PoorWeightInitialization."""

from collections import defaultdict
from math import sqrt

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Summary
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """AWS: spread of activations and gradients in the first steps. Tuned: the first weights themselves."""
    return _spread(run, limits) if "distribution_range" in limits else _weights(run, limits)


def _weights(run: Run, limits: Limits) -> Finding:
    """Weights that are all alike learn all the same; weights far beyond He's sqrt(2 / fan in) drown the signal.

    Without normalization, the variance of activations may not change too much from layer to layer either.
    """
    weights = run.trial.summaries("weight")
    need(weights, "no weights were saved")
    start = min(w.step for w in weights)
    first = [w for w in weights if w.step == start and w.subject in run.matrices & run.learning]
    need(first, "no weights of layers that learn were saved")
    points = [_judged(w, limits["largest"]) for w in first]
    worst = max(points, key=lambda point: (point.broken, point.value))
    ratio = 1.0 if run.facts.normalized else _ratio(run, 0)
    alike = [w.subject for w in first if _alike(w)]
    reason = (
        f"All weights of {alike[0]} are the same in step {start}, and of {len(alike) - 1} more layers."
        if alike
        else f"The largest first weights are those of {worst.subject}: root mean square {worst.value:.2g} "
        f"(threshold {limits['largest']:g}); the variance of activations differs {ratio:.2g}-fold between layers "
        f"(threshold {limits['activation_ratio']:.0e})."
    )
    issue = any(p.broken for p in points) or ratio > limits["activation_ratio"]
    return Finding(points, reason, worst.value, limits["largest"], issue)


def _judged(weight: Summary, largest: float) -> Point:
    size = weight.l2 / sqrt(weight.size)
    return Point(weight.step, size, weight.subject, _alike(weight) or not size <= largest)


def _alike(weight: Summary) -> bool:
    return weight.variance <= 1e-9 * weight.mean**2


def _spread(run: Run, limits: Limits) -> Finding:
    gradients = [g for g in run.trial.summaries("gradient") if g.step < limits["steps"]]
    need(gradients, "no gradients of the first steps were saved")
    narrowest: dict[int, float] = defaultdict(lambda: float("inf"))
    for g in gradients:
        narrowest[g.step] = min(narrowest[g.step], g.p95 - g.p5)
    floor = limits["distribution_range"]
    points = [Point(step, value, "range of gradients", value < floor) for step, value in narrowest.items()]
    for step in sorted({a.step for a in run.trial.summaries("activation") if a.step < limits["steps"]}):
        ratio = _ratio(run, step)
        points.append(Point(step, ratio, "ratio of activations' variances", ratio > limits["activation_inputs_th"]))
    broken = sum(point.broken for point in points)
    reason = f"{broken} of {len(points)} checks of the first {limits['steps']:g} steps are beyond their threshold."
    return Finding(points, reason, min(narrowest.values()), floor)


def _ratio(run: Run, step: int) -> float:
    """Largest by smallest variance of the activations' inputs in a step."""
    variances = [a.variance for a in run.trial.summaries("activation") if a.step == step]
    return max(variances) / max(min(variances), 1e-30) if variances else 1.0


RULE = Rule(
    name="PoorWeightInitialization",
    meaning="First weights that are all alike, far too large, or that let the signal die from layer to layer.",
    advice="Use the framework's default initialisation (He for ReLU), or pretrained weights.",
    source=AWS,
    aws={"activation_inputs_th": 10.0, "distribution_range": 0.001, "patience": 5, "steps": 10},
    tuned={"largest": 3.0, "activation_ratio": 1e4},
    look=look,
)
