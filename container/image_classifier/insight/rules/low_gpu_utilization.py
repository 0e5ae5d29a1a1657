"""LowGPUUtilization."""

import numpy as np

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """95th percentile of each GPU's use in the last window; or a GPU that is at times busy and at times idle."""
    gpus = run.system.gpus()
    need(gpus, "no use of a GPU was sampled")
    gpus = {name: gpu for name, gpu in gpus.items() if len(gpu.values) > limits["patience"]}
    need(gpus, f"fewer than {limits['patience']:g} samples")
    points, sentences = [], []
    for name, gpu in gpus.items():
        low, high = np.percentile(gpu.values[-int(limits["window"]) :], [5, 95])
        idle, unsteady = (
            high < limits["threshold_p95"],
            high >= limits["threshold_p95"] and low < limits["threshold_p5"],
        )
        points.append(Point(len(gpu.values), float(high), name, bool(idle or unsteady)))
        sentences.append(f"{name} is used at {high:.0f} % (95th percentile) and {low:.0f} % (5th)")
    worst = min(points, key=lambda point: point.value)
    reason = f"{'; '.join(sentences)} (thresholds {limits['threshold_p95']:g} % and {limits['threshold_p5']:g} %)."
    return Finding(points, reason, worst.value, limits["threshold_p95"])


RULE = Rule(
    name="LowGPUUtilization",
    meaning="A GPU that is idle, or idle by turns.",
    advice="Use a larger batch_size, more decoding threads, or a smaller instance.",
    source=AWS_PROFILER,
    aws={"threshold_p95": 70.0, "threshold_p5": 10.0, "window": 500, "patience": 1000},
    tuned={"threshold_p95": 70.0, "threshold_p5": 10.0, "window": 500, "patience": 60},
    look=look,
    kind="profiler",
)
