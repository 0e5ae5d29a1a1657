"""DataWaiting."""

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import STEP, stacked
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of the time in which training waits for its next batch; works without a GPU."""
    waits, steps = run.timeline.waits_of_training(), run.timeline.of(STEP)
    need(waits and steps, "no events of training steps and of waiting for data were recorded")
    need(len(waits) >= limits["patience"], f"{len(waits)} batches, and it takes {limits['patience']:g}")
    waited = sum(event.duration for event in waits[1:])
    share = 100 * waited / max(1e-9, waited + sum(event.duration for event in steps[1:]))
    points = [Point(n, event.duration, "seconds of waiting", False) for n, event in enumerate(waits)]
    reason = (
        f"Training waits for pictures in {share:.0f} % of its time (threshold {limits['threshold']:g} %)"
        f"{_meanwhile(run)}."
    )
    return Finding(points, reason, share, limits["threshold"], share > limits["threshold"])


def _meanwhile(run: Run) -> str:
    cores = run.system.cores()
    if not cores:
        return ""
    use = float(stacked(cores).mean())
    cause = "decoding is what takes the time" if use > 60 else "the disk, or too few workers, are what it waits for"
    return f"; the cores are used at {use:.0f} %, so {cause}"


RULE = Rule(
    name="DataWaiting",
    meaning="Time in which training waits for pictures.",
    advice="Use as many decoding threads as cores, smaller pictures, FastFile mode, or a frozen backbone's features.",
    source=OURS,
    aws=None,
    tuned={"threshold": 40.0, "patience": 10},
    look=look,
    kind="profiler",
)
