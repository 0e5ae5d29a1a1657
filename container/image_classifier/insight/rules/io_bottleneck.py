"""IOBottleneck."""

from image_classifier.insight.rules.bottleneck import waiting_for
from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule
from image_classifier.insight.run import Run


def look(run: Run, limits: Limits) -> Finding:
    """A GPU that waits for a disk."""
    return waiting_for(run, run.system.io_wait(), limits["io_threshold"], limits, "the I/O wait")


_NUMBERS = {"threshold": 50.0, "gpu_threshold": 10.0, "io_threshold": 50.0}
RULE = Rule(
    name="IOBottleneck",
    meaning="A GPU that waits while the CPU waits for a disk.",
    advice="Use FastFile or File mode with a larger volume, fewer and larger files, or an instance with a local disk.",
    source=AWS_PROFILER,
    aws={**_NUMBERS, "patience": 1000},
    tuned={**_NUMBERS, "patience": 60},
    look=look,
    kind="profiler",
)
