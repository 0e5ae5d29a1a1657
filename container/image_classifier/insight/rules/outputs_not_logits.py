"""OutputsNotLogits."""

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Predictions, Run
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
    accuracy = float((scores.argmax(1) == labels).mean())
    bound = float(np.e / (np.e + scores.shape[1] - 1))
    most = float(scores.max())
    probabilities = scores.min() >= 0 and bool(np.allclose(scores.sum(1), 1, atol=1e-3))
    twice = most <= bound + limits["margin"] and accuracy >= limits["accuracy"]
    broken = probabilities and (twice or _loss_takes_them_for_logits(run, found, limits["margin"]))
    kind = "probabilities" if probabilities else "logits"
    reason = (
        f"The recorded scores are {kind} up to {most:.3g}; after two softmaxes none is above {bound:.3g}, and "
        f"{100 * accuracy:.0f} % name the right class."
    )
    return Finding([Point(found[-1].step, most, "largest score", broken)], reason, most, bound)


def _loss_takes_them_for_logits(run: Run, found: list[Predictions], margin: float) -> bool:
    """The losses of the same steps are the cross-entropies of a softmax of the recorded probabilities."""
    losses = {t.step: float(t.value.mean()) for mode in ("TRAIN", "EVAL") for t in run.trial.tensors("loss", mode)}
    pairs = [(losses[p.step], _cross_entropy(p)) for p in found if p.step in losses]
    return bool(pairs) and all(abs(loss - expected) <= margin * (1 + expected) for loss, expected in pairs)


def _cross_entropy(p: Predictions) -> float:
    """Cross-entropy of scores taken for logits."""
    scores = np.asarray(p.scores, dtype=np.float64)
    own = scores[np.arange(len(p.labels)), p.labels]
    return float((np.log(np.exp(scores).sum(1)) - own).mean())


RULE = Rule(
    name="OutputsNotLogits",
    meaning="A softmax before a loss that applies one itself: gradients shrink and the loss cannot become small.",
    advice="Remove the softmax from the network: cross-entropy takes logits.",
    source=f"{OURS}; TheDeepChecker (Ben Braiek and Khomh 2022) lists the fault",
    aws=None,
    tuned={"margin": 0.002, "accuracy": 0.6},
    look=look,
)
