"""MaxInitializationTime."""

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Minutes from the first sign of the job to its first step."""
    steps = run.timeline.of("Step:ModeKeys.TRAIN")
    starts = [phase.start for phase in run.facts.phases] + [s.times[0] for s in run.system.cores().values()]
    need(steps, "no events of training steps were recorded")
    need(starts, "neither run.json nor samples of the machine tell when the job began")
    minutes = max(0.0, (steps[0].start - float(min(starts))) / 60)
    reason = f"The first step began {minutes:.2g} minutes after the job (threshold {limits['threshold']:g} minutes)."
    point = Point(0, minutes, "minutes before the first step", minutes > limits["threshold"])
    return Finding([point], reason, minutes, limits["threshold"])


RULE = Rule(
    name="MaxInitializationTime",
    meaning="Time that goes by before the first step.",
    advice="Use FastFile mode, smaller pictures, or weights baked into the image.",
    source=AWS_PROFILER,
    aws={"threshold": 20.0},
    tuned={"threshold": 20.0},
    look=look,
    kind="profiler",
)
