"""StepOutlier."""

import numpy as np

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import STEP
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Steps that take far longer. AWS: than mean plus deviations. Tuned: than the median, if they cost enough time."""
    steps = [event.duration for event in run.timeline.of(STEP)]
    need(steps, "no events of training steps were recorded")
    need(len(steps) > limits["steps"], f"{len(steps)} steps, and it takes more than {limits['steps']:g}")
    durations = np.array(steps)[int(limits["warm_up"]) :]
    usual = float(np.median(durations))
    limit = (
        float(durations.mean() + limits["stddev"] * durations.std()) if limits["stddev"] else limits["times"] * usual
    )
    points = [Point(number, float(d), "seconds of a step", bool(d > limit)) for number, d in enumerate(steps)]
    slow = durations[durations > limit]
    lost = 100 * float((slow - usual).sum() / durations.sum())
    reason = (
        f"{len(slow)} of {len(durations)} steps took longer than {limit:.3g} s, the usual one {usual:.3g} s (more than "
        f"{limits['n_outliers']:g} such steps fire); they cost {lost:.0f} % of the time."
    )
    issue = len(slow) > limits["n_outliers"] and lost >= limits["lost_percent"]
    return Finding(points, reason, float(len(slow)), limits["n_outliers"], issue)


RULE = Rule(
    name="StepOutlier",
    meaning="Single steps that take far longer than the others.",
    advice="Look at what happens in these steps: checkpoints, slow reads, other programs on the machine.",
    source=AWS_PROFILER,
    aws={"stddev": 3.0, "n_outliers": 10, "steps": 100, "warm_up": 0, "times": 0.0, "lost_percent": 0.0},
    tuned={"stddev": 0.0, "n_outliers": 3, "steps": 30, "warm_up": 2, "times": 4.0, "lost_percent": 25.0},
    look=look,
    kind="profiler",
)
