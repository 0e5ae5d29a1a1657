"""AllZero."""

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of zeros of each tensor; tuned: weights of layers, their gradients and the input, not biases."""
    kinds = ("weight", "gradient", "activation", "input")
    points = [
        Point(s.step, 100 * s.zero / s.size, f"{kind} {s.subject}", 100 * s.zero / s.size >= limits["threshold"])
        for kind in kinds
        for s in run.trial.summaries(kind)
        if s.size and (not limits["layers_only"] or kind == "input" or s.subject in run.matrices & run.learning)
    ]
    need(points, "no weights, gradients or inputs were saved")
    broken = [point for point in points if point.broken]
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"{len(broken)} of {len(points)} saved tensors are zero; the worst is {worst.subject} in step {worst.step} "
        f"with {worst.value:.0f} % zeros (threshold {limits['threshold']:g} %)."
    )
    issue = len(broken) > limits["share"] * len(points)
    return Finding(points, reason, worst.value, limits["threshold"], issue)


RULE = Rule(
    name="AllZero",
    meaning="Tensors that are nothing but zeros.",
    advice="Check the initialisation, whether pictures are decoded, and whether the loss depends on the layer.",
    source=AWS,
    aws={"threshold": 100.0, "layers_only": False, "share": 0.0},
    tuned={"threshold": 100.0, "layers_only": True, "share": 0.02},
    look=look,
)
