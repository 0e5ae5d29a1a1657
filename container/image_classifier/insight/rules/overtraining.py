"""Overtraining."""

from math import isfinite

from image_classifier.insight.rules.rule import AWS, NO_EPOCHS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Time since the loss was last better by `delta`. AWS: in recorded batches. Tuned: in epochs of validation."""
    if limits["epochs"]:
        losses = [(n, e.val_loss) for n, e in enumerate(run.epochs, 1) if isfinite(e.val_loss)]
        need(losses, "no losses of validation were recorded" if run.epochs else NO_EPOCHS)
        patience = limits["patience_validation"]
        need(len(losses) > patience, f"{len(losses)} epochs with validation, and the patience is {patience:g}")
        points = _waiting(losses, patience, limits["delta"], "validation")
    else:
        points = _waiting(run.trial.losses("TRAIN"), limits["patience_train"], limits["delta"], "training")
        points += _waiting(run.trial.losses("EVAL"), limits["patience_validation"], limits["delta"], "validation")
        need(points, "no losses were saved")
    worst = max(points, key=lambda point: point.value)
    unit = "epochs" if limits["epochs"] else "recorded steps"
    reason = (
        f"The {worst.subject} loss did not improve by {limits['delta']:g} for {worst.value:.0f} {unit} "
        f"(patience {limits['patience_validation']:g})."
    )
    return Finding(points, reason, worst.value, limits["patience_validation"])


def _waiting(losses: list[tuple[int, float]], patience: float, delta: float, subject: str) -> list[Point]:
    points, best, waited = [], float("inf"), 0
    for step, loss in losses:
        waited = 0 if loss < best - delta else waited + 1
        best = min(best, loss)
        points.append(Point(step, float(waited), subject, waited > patience))
    return points


RULE = Rule(
    name="Overtraining",
    meaning="Training that goes on long after it stopped to help.",
    advice="Train for fewer epochs, or set early_stopping_patience.",
    source=AWS,
    aws={"patience_train": 5, "patience_validation": 10, "delta": 0.01, "epochs": False},
    tuned={"patience_validation": 20, "delta": 0.0, "epochs": True},
    look=look,
)
