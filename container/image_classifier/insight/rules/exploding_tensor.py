"""ExplodingTensor."""

from collections.abc import Iterator

import numpy as np

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point

_SUMMARIES = ("input", "activation", "weight", "gradient", "update")
_TENSORS = ("label", "prediction", "relu_output", "output")


def look(run: Run, limits: Limits) -> Finding:
    """Number of values of each tensor that are not finite."""
    points = sorted(_points(run, bool(limits["only_nan"])), key=lambda point: point.step)
    need(points, "no tensors were saved")
    broken = [point for point in points if point.broken]
    if not broken:
        return Finding(points, f"All {len(points)} saved tensors are finite.", 0.0, 0.0)
    first = broken[0]
    reason = (
        f"{len(broken)} of {len(points)} saved tensors hold NaN or infinity; the first is {first.subject} "
        f"in step {first.step} with {first.value:g} such values."
    )
    return Finding(points, reason, first.value, 0.0)


def _points(run: Run, only_nan: bool) -> Iterator[Point]:
    for kind in _SUMMARIES:
        for summary in run.trial.summaries(kind):
            bad = summary.nan + (0 if only_nan else summary.inf)
            yield Point(summary.step, bad, f"{kind} {summary.subject}", bad > 0)
    for mode in ("TRAIN", "EVAL"):
        for step, loss in run.trial.losses(mode):
            bad = np.isnan(loss) if only_nan else not np.isfinite(loss)
            yield Point(step, float(bad), f"{mode.lower()} loss", bool(bad))
    for kind in _TENSORS:
        for step, subject, value in run.trial.tensors(kind):
            bad = int((np.isnan(value) if only_nan else ~np.isfinite(value)).sum())
            yield Point(step, bad, f"{kind} {subject}", bad > 0)


RULE = Rule(
    name="ExplodingTensor",
    meaning="Values that are not a number, or infinite: everything computed from them is lost.",
    advice="Lower the learning rate; if the first such tensor is the input, look for damaged pictures or labels.",
    source=AWS,
    aws={"only_nan": False},
    tuned={"only_nan": False},
    look=look,
)
