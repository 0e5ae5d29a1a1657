"""Overfit."""

from image_classifier.insight.rules.rule import AWS, NO_EPOCHS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """AWS: validation loss above training loss. Tuned: also a gap in accuracy, in the last epochs."""
    epochs = [(n, e) for n, e in enumerate(run.epochs, 1) if e.val_loss == e.val_loss]
    need(epochs, "no losses of validation were recorded" if run.epochs else NO_EPOCHS)
    patience, limit = int(limits["patience"]), limits["ratio_threshold"]
    need(len(epochs) >= patience, f"{len(epochs)} epochs with validation, and it takes {patience} to judge")
    gap = limits["accuracy_gap"]
    points = []
    for number, epoch in epochs:
        ratio = (epoch.val_loss - epoch.train_loss) / max(epoch.train_loss, 1e-9)
        apart = not gap or not epoch.train_accuracy - epoch.val_accuracy <= gap
        points.append(Point(number, ratio, "validation against training loss", ratio > limit and apart))
    late = points[-patience:] if gap else [p for p in points if p.broken][:patience]
    issue = len(late) == patience and all(point.broken for point in late)
    last, difference = points[-1], epochs[-1][1].train_accuracy - epochs[-1][1].val_accuracy
    reason = (
        f"In the last epoch the validation loss is {100 * last.value:.0f} % above the training loss (threshold "
        f"{100 * limit:g} %)"
        + (f" and the accuracy {100 * difference:.0f} points lower (threshold {100 * gap:g})." if gap else ".")
    )
    return Finding(points, reason, last.value, limit, issue)


RULE = Rule(
    name="Overfit",
    meaning="A network that knows its training pictures and not others.",
    advice="More pictures, augmentation=standard, weight_decay, a smaller network, or early_stopping_patience.",
    source=AWS,
    aws={"ratio_threshold": 0.1, "patience": 1, "start_step": 0, "accuracy_gap": 0.0},
    tuned={"ratio_threshold": 1.0, "patience": 2, "accuracy_gap": 0.35},
    look=look,
)
