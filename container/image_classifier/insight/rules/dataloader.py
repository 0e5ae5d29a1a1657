"""Dataloader."""

from collections import defaultdict
from statistics import median

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import WORKING
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Workers that are busy in each second, as a share of the cores."""
    events = run.timeline.of(WORKING)
    need(events, "no events of data loading workers were recorded")
    cores = run.facts.cores or len(run.system.cores())
    need(cores, "neither run.json nor samples of the machine tell the number of cores")
    workers: dict[int, set[int]] = defaultdict(set)
    for event in events:
        for second in range(int(event.start), int(event.end) + 1):
            workers[second].add(event.process)
    need(
        len(workers) > limits["buckets"], f"{len(workers)} seconds of data loading, and it takes {limits['buckets']:g}"
    )
    first = min(workers)
    low, high = limits["min_threshold"], limits["max_threshold"]
    points = [Point(s - first, 100 * len(w) / cores, "workers", False) for s, w in sorted(workers.items())]
    share = median(point.value for point in points)
    reason = (
        f"In the median second {share:.0f} % as many workers as the {cores} cores load data "
        f"(allowed: {low:g} to {high:g} %)."
    )
    return Finding(points, reason, share, low if share < low else high, not low <= share <= high)


RULE = Rule(
    name="Dataloader",
    meaning="Too few workers that load data for the cores there are, or too many.",
    advice="Set num_workers to the number of cores (0 does that).",
    source=AWS_PROFILER,
    aws={"min_threshold": 70.0, "max_threshold": 200.0, "buckets": 10},
    tuned={"min_threshold": 70.0, "max_threshold": 200.0, "buckets": 3},
    look=look,
    kind="profiler",
)
