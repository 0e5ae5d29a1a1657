"""LossNotDecreasing."""

from math import isfinite

from image_classifier.insight.rules.rule import AWS, NO_EPOCHS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """AWS: loss of single steps, `num_steps` apart. Tuned: means of epochs, from the first to the best and the last."""
    return _by_epochs(run, limits) if "min_epochs" in limits else _by_steps(run, limits)


def _by_epochs(run: Run, limits: Limits) -> Finding:
    losses = [epoch.train_loss for epoch in run.epochs]
    need(losses, NO_EPOCHS)
    need(len(losses) >= limits["min_epochs"], f"{len(losses)} epochs, and it takes {limits['min_epochs']:g} to judge")
    first, last, best = losses[0], losses[-1], min(losses, key=lambda loss: loss if isfinite(loss) else float("inf"))
    drop, rise = 100 * (first - best) / max(first, 1e-9), 100 * (last - best) / max(best, limits["small_loss"])
    fallen = isfinite(last) and (drop >= limits["diff_percent"] or first <= limits["small_loss"])
    fine = fallen and rise <= limits["increase_threshold_percent"]
    points = [Point(n, loss, "training loss", not fine and n == len(losses)) for n, loss in enumerate(losses, 1)]
    reason = (
        f"The training loss went from {first:.3g} in epoch 1 to {best:.3g} at best ({drop:.1f} % lower, at least "
        f"{limits['diff_percent']:g} %) and ended at {last:.3g} ({rise:.0f} % above its best, at most "
        f"{limits['increase_threshold_percent']:g} %)."
    )
    return Finding(points, reason, drop, limits["diff_percent"], not fine)


def _by_steps(run: Run, limits: Limits) -> Finding:
    losses = run.trial.losses("TRAIN")
    need(losses, "no losses of training were saved")
    points, (at, before) = [], losses[0]
    for step, loss in losses[1:]:
        if step - at < limits["num_steps"]:
            continue
        drop = 100 * (before - loss) / abs(before) if before else 0.0
        bad = not drop >= limits["diff_percent"] or drop < -limits["increase_threshold_percent"]
        points.append(Point(step, drop, "loss", bad))
        at, before = step, loss
    need(points, f"no two saved losses are {limits['num_steps']:g} steps apart")
    worst = min(points, key=lambda point: point.value)
    broken = sum(point.broken for point in points)
    reason = (
        f"In {broken} of {len(points)} comparisons the loss did not fall by {limits['diff_percent']:g} %; "
        f"the worst change is {-worst.value:+.1f} % in step {worst.step}."
    )
    return Finding(points, reason, worst.value, limits["diff_percent"])


RULE = Rule(
    name="LossNotDecreasing",
    meaning="A training loss that does not fall, or that rises again.",
    advice="Try a learning rate ten times larger or smaller; check that loss, labels and optimizer belong together.",
    source=AWS,
    aws={"num_steps": 10, "diff_percent": 0.1, "increase_threshold_percent": 5.0},
    tuned={"min_epochs": 3, "diff_percent": 5.0, "increase_threshold_percent": 50.0, "small_loss": 0.1},
    look=look,
)
