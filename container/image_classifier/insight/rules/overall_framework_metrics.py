"""OverallFrameworkMetrics."""

from collections import defaultdict

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, _limits: Limits) -> Finding:
    """Seconds of each phase of the training process; statistics, never an issue."""
    seconds: dict[str, float] = defaultdict(float)
    for event in run.timeline.events:
        seconds[event.phase] += event.duration
    need(seconds, "no events of the training process were recorded")
    points = [Point(0, value, phase) for phase, value in seconds.items()]
    largest = sorted(seconds, key=lambda phase: -seconds[phase])[:4]
    return Finding(
        points, "Seconds: " + "; ".join(f"{name} {seconds[name]:.1f}" for name in largest) + ".", issue=False
    )


RULE = Rule(
    name="OverallFrameworkMetrics",
    meaning="Where the training process spent its time: statistics only.",
    advice="Nothing to do.",
    source=AWS_PROFILER,
    aws={},
    tuned={},
    look=look,
    kind="profiler",
)
