"""WeightUpdateRatio."""

from statistics import median

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Change of a weight in one step, as a share of it; tuned: of layers that learn, in their median step."""
    updates = run.trial.summaries("update")
    need(updates, "neither updates nor weights of two steps were saved")
    small, large = limits["small_threshold"], limits["large_threshold"]
    if not limits["typical"]:
        points = [Point(u.step, u.mean, u.subject, not small <= u.mean <= large) for u in updates]
        worst = max(points, key=lambda point: (point.broken, point.value))
        reason = f"A step changes {worst.subject} by {worst.value:.1e} of itself (allowed: {small:.0e} to {large:g})."
        return Finding(points, reason, worst.value, large)
    points = [
        Point(u.step, u.p95, u.subject, not small <= u.p95 or not u.p5 <= large)
        for u in updates
        if u.subject in run.matrices & run.learning
    ]
    need(points, "no updates of layers that learn were saved")
    sizes = [median(p.value for p in points if p.subject == name) for name in {p.subject for p in points}]
    lows = [median(u.p5 for u in updates if u.subject == name) for name in {p.subject for p in points}]
    middle, low = median(sizes), median(lows)
    reason = (
        f"In the middle layer, a step changes the 95th percentile of the weights by {middle:.1e} of itself "
        f"(at least {small:.0e}), and the 5th by {low:.1e} (at most {large:g})."
    )
    too_small = middle < small
    return Finding(
        points, reason, middle if too_small else low, small if too_small else large, too_small or low > large
    )


RULE = Rule(
    name="WeightUpdateRatio",
    meaning="How much a step changes the weights: too little and nothing is learned, too much and all is forgotten.",
    advice="Raise the learning rate when updates are too small, lower it when they are too large.",
    source=AWS,
    aws={"small_threshold": 1e-8, "large_threshold": 10.0, "epsilon": 1e-9, "typical": False},
    tuned={"small_threshold": 1e-5, "large_threshold": 0.1, "epsilon": 1e-9, "typical": True},
    look=look,
)
