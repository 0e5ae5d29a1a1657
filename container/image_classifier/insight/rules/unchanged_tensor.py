"""UnchangedTensor."""

from collections import defaultdict
from itertools import pairwise

import numpy as np

from image_classifier.insight.rules.rule import AWS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Summary
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Tensors that stay the same over `num_steps` saved steps; tuned: parameters that should learn, over all steps."""
    weights: dict[str, list[Summary]] = defaultdict(list)
    for summary in run.trial.summaries("weight"):
        weights[summary.subject].append(summary)
    steps = int(limits["num_steps"])
    weights = {name: found for name, found in weights.items() if len(found) >= steps}
    need(weights, f"fewer than {steps} saved steps with weights")
    if limits["learning_only"]:
        weights = {name: found for name, found in weights.items() if name in run.learning}
        if not weights:
            raise NotEvaluated("no parameter that learns was saved")
    points = [Point(found[-1].step, *_changes(name, found, steps, limits)) for name, found in weights.items()]
    still = [point.subject for point in points if point.broken]
    named = f", such as {still[0]}" if still else ""
    reason = f"{len(still)} of {len(points)} parameters stay the same over {steps} or more saved steps{named}."
    issue = len(still) > limits["share"] * len(points)
    return Finding(points, reason, float(len(still)), limits["share"] * len(points), issue)


def _changes(name: str, found: list[Summary], steps: int, limits: Limits) -> tuple[float, str, bool]:
    """Number of changes between saved steps, and whether there are too few."""
    same = [_same(a, b, limits) for a, b in pairwise(found)]
    if limits["learning_only"]:
        return float(same.count(False)), name, all(same)
    runs = range(len(same) - steps + 2)
    return float(same.count(False)), name, any(all(same[i : i + steps - 1]) for i in runs)


def _same(a: Summary, b: Summary, limits: Limits) -> bool:
    """Equal summaries of equal tensors: exact for those that do not change at all."""
    return bool(np.allclose(a[2:], b[2:], rtol=limits["rtol"], atol=limits["atol"], equal_nan=True))


RULE = Rule(
    name="UnchangedTensor",
    meaning="Parameters that should learn and do not change at all.",
    advice="Check that the optimizer was given these parameters, and that the loss depends on them.",
    source=AWS,
    aws={"num_steps": 3, "rtol": 1e-5, "atol": 1e-8, "learning_only": False, "share": 0.0},
    tuned={"num_steps": 3, "rtol": 0.0, "atol": 0.0, "learning_only": True, "share": 0.1},
    look=look,
)
