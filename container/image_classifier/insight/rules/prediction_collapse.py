"""PredictionCollapse."""

import numpy as np

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Share of the class that is named most often, and of that class's labels, in the late evaluations."""
    found = run.predictions("EVAL") or run.predictions("TRAIN")
    need(found, "no predictions and labels were recorded")
    late = found[len(found) // 2 :]
    predicted, labels = np.concatenate([p.predicted for p in late]), np.concatenate([p.labels for p in late])
    need(len(predicted) >= limits["samples"], f"{len(predicted)} predictions, and it takes {limits['samples']:g}")
    counts = np.bincount(predicted)
    most = int(counts.argmax())
    share, wanted = float(counts[most] / len(predicted)), float((labels == most).mean())
    broken = share >= limits["threshold"] and wanted < limits["threshold"] / 2
    reason = (
        f"{100 * share:.0f} % of the late predictions name one class (threshold {100 * limits['threshold']:.0f} %); "
        f"{100 * wanted:.0f} % of the labels do."
    )
    point = Point(late[-1].step, share, "share of one class", broken)
    return Finding([point], reason, share, limits["threshold"])


RULE = Rule(
    name="PredictionCollapse",
    meaning="A network that gives the same answer for every picture.",
    advice="Lower the learning rate; check initialisation, dead activations, and the range of the input.",
    source=OURS,
    aws=None,
    tuned={"threshold": 0.95, "samples": 50},
    look=look,
)
