"""CPUBottleneck."""

from image_classifier.insight.rules.bottleneck import waiting_for
from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule
from image_classifier.insight.run import Run


def look(run: Run, limits: Limits) -> Finding:
    """A GPU that waits for the CPU."""
    return waiting_for(run, run.system.cores(), limits["cpu_threshold"], limits, "the use")


_NUMBERS = {"threshold": 50.0, "gpu_threshold": 10.0, "cpu_threshold": 90.0}
RULE = Rule(
    name="CPUBottleneck",
    meaning="A GPU that waits while the CPU is busy.",
    advice="Use more decoding threads, smaller pictures on disk, light augmentation, or an instance with more cores.",
    source=AWS_PROFILER,
    aws={**_NUMBERS, "patience": 1000},
    tuned={**_NUMBERS, "patience": 60},
    look=look,
    kind="profiler",
)
