"""Dataloader."""

from collections import Counter
from statistics import median

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import WORKING, Event
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Workers that are busy at once in each second, as a share of the cores."""
    events = run.timeline.of(WORKING)
    need(events, "no events of data loading workers were recorded")
    cores = run.facts.cores or len(run.system.cores())
    need(cores, "neither run.json nor samples of the machine tell the number of cores")
    workers = _at_once(events)
    need(
        len(workers) > limits["buckets"], f"{len(workers)} seconds of data loading, and it takes {limits['buckets']:g}"
    )
    first = min(workers)
    low, high = limits["min_threshold"], limits["max_threshold"]
    points = [Point(s - first, 100 * w / cores, "workers", False) for s, w in sorted(workers.items())]
    share = median(point.value for point in points)
    reason = (
        f"In the median second {share:.0f} % as many workers as the {cores} cores load data "
        f"(allowed: {low:g} to {high:g} %)."
    )
    return Finding(points, reason, share, low if share < low else high, not low <= share <= high)


def _at_once(events: list[Event]) -> Counter[int]:
    """The most workers that are busy at one moment of each second.

    Not all that are seen in it: a short pass over the data brings its own workers, and its second has those of the
    pass before, too.
    """
    most: Counter[int] = Counter()
    busy: list[Event] = []
    for event in events:
        busy = [*(other for other in busy if other.end > event.start), event]
        for second in range(int(event.start), int(event.end) + 1):
            most[second] = max(most[second], sum(other.end > second for other in busy))
    return most


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
