"""BatchSize."""

import numpy as np

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """95th percentile of the use of CPU, GPU and GPU memory in the last window: all of them low."""
    system = run.system
    need(system.gpus() and system.gpu_memory(), "no use of a GPU was sampled")
    groups = {"cpu": system.cores(), "gpu": system.gpus(), "gpu_memory": system.gpu_memory()}
    samples = max(len(series.values) for series in system.gpus().values())
    need(samples > limits["patience"], f"{samples} samples, and it takes {limits['patience']:g}")
    window = int(limits["window"])
    uses = {
        key: float(np.percentile(np.concatenate([s.values[-window:] for s in series.values()]), 95))
        for key, series in groups.items()
        if series
    }
    low = all(use < limits[f"{key}_threshold_p95"] for key, use in uses.items())
    points = [Point(samples, use, key, low) for key, use in uses.items()]
    text = ", ".join(f"{key.replace('_', ' ')} {use:.0f} %" for key, use in uses.items())
    reason = f"95th percentiles: {text} (threshold {limits['gpu_threshold_p95']:g} % for all of them)."
    return Finding(points, reason, max(uses.values()), limits["gpu_threshold_p95"])


_NUMBERS = {"cpu_threshold_p95": 70.0, "gpu_threshold_p95": 70.0, "gpu_memory_threshold_p95": 70.0, "window": 500}
RULE = Rule(
    name="BatchSize",
    meaning="CPU, GPU and GPU memory that are all little used.",
    advice="Use a larger batch_size, or a smaller instance.",
    source=AWS_PROFILER,
    aws={**_NUMBERS, "patience": 1000},
    tuned={**_NUMBERS, "patience": 60},
    look=look,
    kind="profiler",
)
