"""StalledTrainingRule."""

from itertools import pairwise
from statistics import median

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Longest time without a sign of life. AWS: in seconds. Tuned: also in steps."""
    times = _signs_of_life(run)
    need(len(times) > 1, "neither events of the profiler nor files of two steps tell when training went on")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    usual = median(gaps)
    limit = limits["threshold"]
    if limits["times_usual"]:
        limit = min(limit, max(limits["least"], limits["times_usual"] * usual))
    points = [Point(number, gap, "seconds between steps", gap > limit) for number, gap in enumerate(gaps, 1)]
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"The longest time without a step is {worst.value:.3g} s after step {worst.step}, the usual one {usual:.2g} s "
        f"(threshold {limit:.3g} s)."
    )
    return Finding(points, reason, worst.value, limit)


def _signs_of_life(run: Run) -> list[float]:
    """Unix seconds of the ends of steps, or else of the saved tensors."""
    steps = run.timeline.of("Step:ModeKeys.TRAIN", "Step:ModeKeys.EVAL")
    if steps:
        return sorted(event.end for event in steps)
    folder = run.trial.folder
    return sorted(path.stat().st_mtime for path in folder.glob("index/*/*.json")) if folder else []


RULE = Rule(
    name="StalledTrainingRule",
    meaning="A time in which training did not go on.",
    advice="Look at what the machine did at that time: a slow disk or network, a checkpoint, a dead worker.",
    source=AWS,
    aws={"threshold": 1800.0, "times_usual": 0.0, "least": 0.0},
    tuned={"threshold": 1800.0, "times_usual": 30.0, "least": 5.0},
    look=look,
    kind="profiler",
)
