"""NotLearning."""

from math import isfinite, sqrt

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Best accuracy on validation (or else training) against guessing the largest class."""
    epochs = run.epochs
    known = [e.val_accuracy for e in epochs if isfinite(e.val_accuracy)]
    part = "validation" if known else "training"
    accuracies = known or [e.train_accuracy for e in epochs if isfinite(e.train_accuracy)]
    need(accuracies, "no accuracies by epoch were recorded")
    need(len(accuracies) >= limits["min_epochs"], f"{len(accuracies)} epochs, and it takes {limits['min_epochs']:g}")
    chance = _chance(run)
    count = run.facts.counts.get("validation" if known else "train", 100)
    limit = min(0.99, chance + limits["deviations"] * sqrt(chance * (1 - chance) / max(1, count)))
    best = sorted(accuracies)[-2] if len(accuracies) > 3 else max(accuracies)  # the best of many is lucky
    points = [Point(n, accuracy, f"{part} accuracy", accuracy <= limit) for n, accuracy in enumerate(accuracies, 1)]
    reason = (
        f"The {part} accuracy reached {100 * best:.1f} %; guessing gives {100 * chance:.1f} %, and by luck up to "
        f"{100 * limit:.1f} % of {count} pictures."
    )
    return Finding(points, reason, best, limit, best <= limit)


def _chance(run: Run) -> float:
    """Accuracy of always naming the largest class."""
    counts = run.facts.class_counts
    need(sum(counts) or run.facts.classes, "run.json does not name the classes")
    return max(counts) / sum(counts) if sum(counts) else 1 / len(run.facts.classes)


RULE = Rule(
    name="NotLearning",
    meaning="A network that is no better than guessing on pictures it has not seen.",
    advice="Check that labels belong to their pictures; then learning rate, initialisation, and what is frozen.",
    source=f"{OURS}; the bound is a binomial deviation from the share of the largest class",
    aws=None,
    tuned={"min_epochs": 2, "deviations": 3.0},
    look=look,
)
