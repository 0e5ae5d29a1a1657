"""OutputsNotLogits."""

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Whether what goes into the loss is a softmax's output, or what comes out is a softmax of one.

    A softmax of probabilities never gives more than e / (e + classes - 1) to a class.
    """
    found = [p for p in run.predictions("TRAIN") + run.predictions("EVAL") if p.scores is not None]
    need(found, "no scores of predictions were recorded")
    scores = np.concatenate([p.scores for p in found if p.scores is not None]).astype(np.float64)
    need(np.isfinite(scores).all(), "the recorded scores are not finite")
    need(scores.shape[1] > 1, "there is one class")
    labels = np.concatenate([p.labels for p in found])
    bound = float(np.e / (np.e + scores.shape[1] - 1))
    probabilities = scores.min() >= 0 and bool(np.allclose(scores.sum(1), 1, atol=1e-3))
    most = float(scores.max())
    losses = [loss for _, loss in run.trial.losses("TRAIN")]
    expected = -np.log(np.clip(scores[np.arange(len(labels)), labels], 1e-9, 1)).mean() if probabilities else 0.0
    twice = probabilities and most <= bound + limits["margin"]
    first = probabilities and not twice and _softmax_in_loss(scores, labels, losses, float(expected))
    accuracy = float((scores.argmax(1) == labels).mean())
    broken = first or (twice and accuracy >= limits["accuracy"])
    kind = "probabilities" if probabilities else "logits"
    reason = (
        f"The recorded scores are {kind} up to {most:.3g}; after two softmaxes none is above {bound:.3g}, and "
        f"{100 * accuracy:.0f} % name the right class."
    )
    return Finding([Point(found[-1].step, most, "largest score", broken)], reason, most, bound)


def _softmax_in_loss(scores: object, labels: object, losses: list[float], expected: float) -> bool:
    """The recorded losses are those of a softmax of these probabilities, and not of the probabilities themselves."""
    array, truth = np.asarray(scores), np.asarray(labels)
    inner = np.log(np.exp(array).sum(1)) - array[np.arange(len(truth)), truth]
    if not losses:
        return False
    seen = float(np.mean(losses))
    return abs(seen - float(inner.mean())) < abs(seen - expected)


RULE = Rule(
    name="OutputsNotLogits",
    meaning="A softmax before a loss that applies one itself: gradients shrink and the loss cannot become small.",
    advice="Remove the softmax from the network: cross-entropy takes logits.",
    source=f"{OURS}; TheDeepChecker (Ben Braiek and Khomh 2022) lists the fault",
    aws=None,
    tuned={"margin": 0.002, "accuracy": 0.6},
    look=look,
)
