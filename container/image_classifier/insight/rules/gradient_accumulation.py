"""GradientAccumulation."""

from statistics import median

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Predictions, Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Gradient of the last bias against the one that this step's predictions and labels give.

    For cross-entropy that is the mean of (softmax - one hot label) over the batch (Bridle 1990); a larger one holds
    more than this step.
    """
    found = {p.step: p for p in run.predictions("TRAIN") if p.scores is not None and np.isfinite(p.scores).all()}
    need(found, "no scores of predictions and labels of training steps were recorded")
    classes = next(iter(found.values())).scores.shape[1]  # type: ignore[union-attr]
    bias = _last_bias(run, classes)
    need(bias, "the network does not end with a linear layer whose bias was recorded")
    smoothing = float(run.facts.hyperparameters.get("label_smoothing") or 0)
    points = []
    for g in run.trial.summaries("gradient"):
        if g.subject == bias and g.step in found and g.nan + g.inf == 0:
            ratio = g.l2 / max(_expected(found[g.step], smoothing), limits["least"])
            points.append(Point(g.step, ratio, g.subject, ratio > limits["threshold"]))
    need(
        len(points) >= limits["patience"], f"{len(points)} saved steps with predictions and a finite gradient of {bias}"
    )
    typical = median(point.value for point in points[len(points) // 2 :])
    reason = (
        f"In the second half of training the gradient of {bias} is typically {typical:.3g} times that of its own batch "
        f"(threshold {limits['threshold']:g} times)."
    )
    return Finding(points, reason, typical, limits["threshold"], typical > limits["threshold"])


def _last_bias(run: Run, classes: int) -> str:
    """Name of the bias of the logits; empty where there is none, or where an activation comes after it."""
    sizes = {g.subject: g.size for g in run.trial.summaries("gradient")}
    names = [name for name in sizes if name.rpartition(".")[2] == "bias" and sizes[name] == classes]
    if not names:
        return ""
    parent, _, number = names[-1].removesuffix("bias").rstrip(".").rpartition(".")
    later = [name.rpartition(".") for name in run.facts.activations]
    after = [n for p, _, n in later if p == parent and n.isdigit() and number.isdigit() and int(n) > int(number)]
    return "" if after else names[-1]


def _expected(p: Predictions, smoothing: float) -> float:
    """Norm of the gradient that one batch gives to the last bias."""
    scores = np.asarray(p.scores, dtype=np.float64)
    if scores.min() < 0 or not np.allclose(scores.sum(1), 1, atol=1e-3):
        scores = np.exp(scores - scores.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
    classes = scores.shape[1]
    wanted = (1 - smoothing) * np.eye(classes)[p.labels] + smoothing / classes
    return float(np.linalg.norm((scores - wanted).mean(0)))


RULE = Rule(
    name="GradientAccumulation",
    meaning="Gradients that hold more than those of their own step.",
    advice="Call optimizer.zero_grad() before each backward pass; the loss must be a mean over the batch.",
    source=OURS,
    aws=None,
    tuned={"threshold": 2.0, "patience": 3, "least": 1e-5},
    look=look,
)
