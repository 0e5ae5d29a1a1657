"""GPUMemoryIncrease."""

from image_classifier.insight.rules.memory import growth, jumps
from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """AWS: the mean of ten samples against the ten before. Tuned: growth over the run, after warming up."""
    memory = run.system.gpu_memory()
    need(memory, "no use of a GPU's memory was sampled")
    memory = {name: series for name, series in memory.items() if len(series.values) > limits["patience"]}
    need(memory, f"fewer than {limits['patience']:g} samples")
    limit = limits["increase"]
    if limits["trend"]:
        points = [Point(len(s.values), growth(s), name, growth(s) > limit) for name, s in memory.items()]
    else:
        points = [
            Point(step, jump, name, jump > limit)
            for name, series in memory.items()
            for step, jump in jumps(series, int(limits["window"]))
        ]
    worst = max(points, key=lambda point: point.value)
    reason = f"The memory of {worst.subject} grew by {worst.value:.1f} points (threshold {limit:g})."
    return Finding(points, reason, worst.value, limit)


RULE = Rule(
    name="GPUMemoryIncrease",
    meaning="GPU memory that grows while training goes on.",
    advice="Look for tensors that are kept over steps, such as losses summed without .item() or .detach().",
    source=AWS_PROFILER,
    aws={"increase": 5.0, "patience": 1000, "window": 10, "trend": False},
    tuned={"increase": 5.0, "patience": 60, "window": 10, "trend": True},
    look=look,
    kind="profiler",
)
