"""LoadBalancing."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from image_classifier.insight.rules.rule import AWS_PROFILER, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Jensen-Shannon distance between the histograms of the use of each pair of GPUs, 0 to 1."""
    gpus = run.system.gpus()
    need(len(gpus) > 1, "fewer than two GPUs were sampled")
    samples = min(len(series.values) for series in gpus.values())
    need(samples > limits["patience"], f"{samples} samples, and it takes {limits['patience']:g}")
    shares = {name: np.histogram(s.values, bins=10, range=(0, 100))[0] / len(s.values) for name, s in gpus.items()}
    points = []
    for one, two in combinations(shares, 2):
        apart = distance(shares[one], shares[two])
        points.append(Point(samples, apart, f"{one} and {two}", apart > limits["threshold"]))
    worst = max(points, key=lambda point: point.value)
    reason = (
        f"The use of {worst.subject} differs by a Jensen-Shannon distance of {worst.value:.2f} "
        f"(threshold {limits['threshold']:g})."
    )
    return Finding(points, reason, worst.value, limits["threshold"])


def distance(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Jensen-Shannon distance of two distributions, base 2 (Lin 1991)."""
    middle = (p + q) / 2

    def divergence(r: NDArray[np.float64]) -> float:
        some = r > 0
        return float((r[some] * np.log2(r[some] / middle[some])).sum())

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))


RULE = Rule(
    name="LoadBalancing",
    meaning="GPUs of one machine that do not share the work evenly.",
    advice="Give every process the same number of pictures of the same size.",
    source=f"{AWS_PROFILER}; AWS's own code compares the last GPU with itself and cannot fire",
    aws={"threshold": 0.2, "patience": 1000},
    tuned={"threshold": 0.2, "patience": 60},
    look=look,
    kind="profiler",
)
