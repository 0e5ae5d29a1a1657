"""What CPUBottleneck and IOBottleneck share: a GPU that waits while something else is busy."""

from image_classifier.insight.rules.rule import Finding, Limits, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import Series, stacked
from image_classifier.insight.verdict import Point


def waiting_for(run: Run, busy: dict[str, Series], busy_threshold: float, limits: Limits, what: str) -> Finding:
    """Share of samples in which a GPU is idle and something else is busy.

    Raises:
        NotEvaluated: there is no GPU, or there are too few samples.
    """
    need(run.system.gpus(), "no use of a GPU was sampled")
    need(busy, f"no {what} was sampled")
    gpus, others = stacked(run.system.gpus()), stacked(busy)
    length = min(gpus.shape[1], others.shape[1])
    need(length > limits["patience"], f"{length} samples, and it takes {limits['patience']:g}")
    idle = (gpus[:, :length] < limits["gpu_threshold"]).any(0)
    both = idle & (others[:, :length] > busy_threshold).any(0)
    share = 100 * float(both.mean())
    reason = (
        f"In {share:.0f} % of {length} samples a GPU was used below {limits['gpu_threshold']:g} % while {what} of a "
        f"core was above {busy_threshold:g} % (threshold {limits['threshold']:g} %)."
    )
    return Finding([Point(length, share, what, share > limits["threshold"])], reason, share, limits["threshold"])
