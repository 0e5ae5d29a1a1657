"""Memorizing."""

from math import isfinite

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Accuracy gained on training pictures, and how much of that carries over to validation."""
    epochs = [e for e in run.epochs if isfinite(e.train_accuracy) and isfinite(e.val_accuracy)]
    need(epochs, "no accuracies of training and validation were recorded")
    classes = max(len(run.facts.classes), 2)
    chance = max(run.facts.class_counts) / sum(run.facts.class_counts) if sum(run.facts.class_counts) else 1 / classes
    gains = [(e.train_accuracy - chance, e.val_accuracy - chance) for e in epochs]
    learned, kept = gains[-1][0], max(gain[1] for gain in gains)
    share = kept / learned if learned > 0 else 1.0
    broken = learned >= limits["learned"] and share < limits["kept"]
    points = [
        Point(n, val, "validation accuracy above guessing", broken and n == len(gains))
        for n, (_, val) in enumerate(gains, 1)
    ]
    reason = (
        f"Training ends {100 * learned:.0f} points above guessing, validation reached {100 * kept:.0f}: "
        f"{100 * share:.0f} % of what was learned carries over (at least {100 * limits['kept']:.0f} %)."
    )
    return Finding(points, reason, share, limits["kept"], broken)


RULE = Rule(
    name="Memorizing",
    meaning="Training pictures that are learned by heart, with nothing in common with the others.",
    advice="Check that labels belong to their pictures in both splits, and that the splits show the same things.",
    source=f"{OURS}, after the randomisation test (Zhang et al. 2017)",
    aws=None,
    tuned={"learned": 0.15, "kept": 0.4},
    look=look,
)
