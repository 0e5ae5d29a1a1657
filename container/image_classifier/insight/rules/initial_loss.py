"""InitialLoss."""

from math import log

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Loss of the first steps against ln(classes), the cross-entropy of guessing."""
    classes = len(run.facts.classes)
    need(classes > 1, "run.json does not name two classes")
    losses = [(step, loss) for step, loss in run.trial.losses("TRAIN") if step < limits["steps"]]
    need(losses, f"no losses of the first {limits['steps']:g} steps were saved")
    step, loss = losses[0]
    ratio = loss / log(classes)
    broken = not ratio <= limits["times"]
    size = run.facts.batch_size
    summed = size and size / 3 < ratio < size * 3
    hint = f"; it is about batch_size times too large, as a sum over the batch of {size}" if broken and summed else ""
    reason = (
        f"The loss of step {step} is {loss:.3g}, {ratio:.2g} times that of guessing among {classes} classes "
        f"(threshold {limits['times']:g} times){hint}."
    )
    return Finding([Point(step, ratio, "loss by that of guessing", broken)], reason, ratio, limits["times"])


RULE = Rule(
    name="InitialLoss",
    meaning="A first loss far above that of guessing: a wrong reduction, or weights that are far too large.",
    advice="Use the mean over the batch; check the initialisation of the last layer and the range of the input.",
    source=f"{OURS}; TheDeepChecker (Ben Braiek and Khomh 2022) checks the same",
    aws=None,
    tuned={"steps": 3, "times": 3.0},
    look=look,
)
