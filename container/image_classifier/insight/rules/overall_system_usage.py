"""OverallSystemUsage."""

import numpy as np

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.system import Series
from image_classifier.insight.verdict import Point


def look(run: Run, _limits: Limits) -> Finding:
    """Median and 95th percentile of the use of each part; statistics, never an issue."""
    system, memory = run.system, run.system.memory()
    need(not system.empty, "no use of the machine was sampled")
    groups: dict[str, dict[str, Series]] = {
        "CPU": system.cores(),
        "I/O wait": system.io_wait(),
        "memory": {"memory": memory} if memory else {},
        "GPU": system.gpus(),
        "GPU memory": system.gpu_memory(),
    }
    values = {name: np.concatenate([s.values for s in series.values()]) for name, series in groups.items() if series}
    points = [Point(len(v), float(np.median(v)), name) for name, v in values.items()]
    text = "; ".join(f"{name} {np.median(v):.0f} % (p95 {np.percentile(v, 95):.0f} %)" for name, v in values.items())
    return Finding(points, f"Medians: {text}.", issue=False)


RULE = Rule(
    name="OverallSystemUsage",
    meaning="How much the machine was used: statistics only.",
    advice="Nothing to do.",
    source=AWS_PROFILER,
    aws={},
    tuned={},
    look=look,
    kind="profiler",
)
