"""LabelNoise."""

from itertools import pairwise

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Predictions, Run
from image_classifier.insight.trial import Array
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Accuracy of the predictions the network is surest of, on validation pictures.

    Difficult pictures are found among the unsure predictions; wrong labels are found among all alike, also among those
    the network claims to be sure of.
    """
    found = [p for p in run.predictions("EVAL") if p.scores is not None]
    need(found, "no scores and labels of validation pictures were recorded")
    late = _last(found, int(limits["samples"]))
    sure, right = _sorted(late)
    need(len(sure) >= limits["samples"], f"{len(sure)} recorded predictions, and it takes {limits['samples']:g}")
    part = max(1, len(right) // 3)
    top, claimed, overall = float(right[-part:].mean()), float(sure[-part:].mean()), float(right.mean())
    learned = overall > limits["learned"] / scores_of(late).shape[1]
    issue = learned and top < limits["threshold"] and claimed - top > limits["overconfidence"]
    reason = (
        f"Of the third of the validation pictures that the network is surest of ({100 * claimed:.0f} % sure), "
        f"{100 * top:.0f} % are right (at least {100 * limits['threshold']:.0f} %); of all, {100 * overall:.0f} %."
    )
    point = Point(late[-1].step, top, "accuracy of the surest third", issue)
    return Finding([point], reason, top, limits["threshold"], issue)


def _last(found: list[Predictions], samples: int) -> list[Predictions]:
    """The last recorded batches, until there are enough samples: those of one evaluation where it was recorded."""
    taken = [found[-1]]
    for later, earlier in pairwise(reversed(found)):
        if sum(len(p.labels) for p in taken) >= samples and later.step - earlier.step > 1:
            break
        taken.append(earlier)
    return taken


def _sorted(found: list[Predictions]) -> tuple[Array, Array]:
    """Confidence and correctness of each prediction, the least sure first."""
    scores = scores_of(found)
    right = np.concatenate([p.predicted == p.labels for p in found])
    order = np.argsort(scores.max(1))
    return scores.max(1)[order], right[order]


def scores_of(found: list[Predictions]) -> Array:
    """Probabilities [n, classes], of probabilities or logits."""
    scores = np.concatenate([p.scores for p in found if p.scores is not None]).astype(np.float64)
    if scores.min() >= 0 and np.allclose(scores.sum(1), 1, atol=1e-3):
        return scores
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(exponents / exponents.sum(1, keepdims=True))


RULE = Rule(
    name="LabelNoise",
    meaning="Labels that contradict predictions the network is sure of.",
    advice="Look at the surest mistakes in predictions.csv: many will turn out to be wrong labels.",
    source=f"{OURS}, after confident learning (Northcutt et al. 2021)",
    aws=None,
    tuned={"threshold": 0.85, "samples": 60, "learned": 1.5, "overconfidence": 0.15},
    look=look,
)
