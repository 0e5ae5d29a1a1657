"""GradientAccumulation."""

from collections import defaultdict
from itertools import pairwise

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Array
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """How much the gradients of two saved steps are alike: forgotten gradients stay in the next ones."""
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for g in run.trial.summaries("gradient"):
        if g.nan + g.inf == 0 and g.subject in run.learning:
            by_step[g.step][g.subject] = g.mean / max(g.l2 / g.size**0.5, 1e-30)
    names = sorted(set.intersection(*map(set, by_step.values()))) if by_step else []
    need(len(names) >= limits["parameters"], f"fewer than {limits['parameters']:g} parameters have finite gradients")
    vectors = {step: np.array([means[name] for name in names]) for step, means in sorted(by_step.items())}
    late = list(vectors.items())[len(vectors) // 2 :]
    need(len(late) > limits["patience"], f"{len(vectors)} saved steps with gradients")
    points = [Point(b, _alike(u, v), "likeness of gradients", False) for (_, u), (b, v) in pairwise(late)]
    typical = float(np.median([point.value for point in points]))
    reason = (
        f"The gradients of one saved step and the next have a correlation of {typical:.2f} in the second half of training "
        f"(threshold {limits['threshold']:g})."
    )
    return Finding(points, reason, typical, limits["threshold"], typical > limits["threshold"])


def _alike(u: Array, v: Array) -> float:
    """Cosine of two vectors; 0 where one has no direction."""
    norms = float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(u @ v) / norms if norms > 0 else 0.0


RULE = Rule(
    name="GradientAccumulation",
    meaning="Gradients that hold those of earlier steps.",
    advice="Call optimizer.zero_grad() before each backward pass.",
    source=OURS,
    aws=None,
    tuned={"threshold": 0.6, "parameters": 6, "patience": 3},
    look=look,
)
