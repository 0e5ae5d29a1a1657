"""CheckInputImages."""

from image_classifier.insight.rules.rule import AWS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Summary
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """AWS: mean of the input. Tuned: its range, because the mean of normalised pictures is not always near zero."""
    inputs = run.trial.summaries("input")
    need(inputs, "no input of the network was saved")
    if run.learning and run.learning <= {"weight", "bias"}:
        raise NotEvaluated("what was trained is one linear layer: its input is features, not pictures")
    if "threshold_mean" in limits:
        limit = limits["threshold_mean"]
        points = [Point(i.step, abs(i.mean), "mean of the input", abs(i.mean) > limit) for i in inputs]
        worst = max(points, key=lambda point: point.value)
        return Finding(points, f"The mean of the input is {worst.value:.2g} (threshold {limit:g}).", worst.value, limit)
    points = [Point(i.step, i.max, "largest value of the input", _odd(i, limits) != "") for i in inputs]
    problems = [problem for i in inputs if (problem := _odd(i, limits))]
    last = inputs[-1]
    what = problems[0] if problems else "which is what normalised pictures have"
    reason = f"The input lies between {last.min:.2g} and {last.max:.2g} with a mean of {last.mean:.2g}: {what}."
    return Finding(points, reason, last.max, limits["largest"], len(problems) > len(inputs) / 2)


def _odd(inputs: Summary, limits: Limits) -> str:
    """What is wrong with an input's range, in words."""
    if max(abs(inputs.min), abs(inputs.max)) > limits["largest"]:
        return f"beyond {limits['largest']:g}, as pictures that were not scaled"
    if inputs.min >= limits["least_negative"]:
        return "never negative, as pictures whose mean was not taken off"
    if inputs.variance < limits["min_variance"]:
        return f"its variance of {inputs.variance:.1g} is below {limits['min_variance']:g}"
    return ""


RULE = Rule(
    name="CheckInputImages",
    meaning="Pictures that reach the network in another range than it expects.",
    advice="Scale pixels to 0..1, then take off the mean and divide by the deviation that the network was made with.",
    source=AWS,
    aws={"threshold_mean": 0.2, "threshold_samples": 500, "channel": 1},
    tuned={"largest": 10.0, "least_negative": 0.0, "min_variance": 0.01},
    look=look,
)
