"""VanishingGradient."""

from statistics import median

from image_classifier.insight.rules.rule import AWS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.trial import Summary
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Mean absolute gradient of each parameter; tuned: of weights that learn, as the median of the early steps."""
    gradients = run.trial.summaries("gradient")
    need(gradients, "no gradients were saved")
    if limits["early_share"] < 1:
        gradients = _early(run, gradients, limits["early_share"])
        need(gradients, "no gradients of weights that learn were saved")
    points = [Point(g.step, g.mean_abs, g.subject, g.mean_abs < limits["threshold"]) for g in gradients]
    subjects = dict.fromkeys(g.subject for g in gradients)
    typical = {name: median(p.value for p in points if p.subject == name) for name in subjects}
    low = [name for name, value in typical.items() if value < limits["threshold"]]
    name = min(typical, key=lambda key: typical[key])
    reason = (
        f"The mean absolute gradient of {name} is {typical[name]:.1e} in its median step (threshold "
        f"{limits['threshold']:.0e}); it is below in {len(low)} of {len(typical)} parameters."
    )
    issue = len(low) / len(typical) >= limits["layers_share"] if limits["layers_share"] else None
    return Finding(points, reason, typical[name], limits["threshold"], issue)


def _early(run: Run, gradients: list[Summary], share: float) -> list[Summary]:
    """Late gradients of a network that has learned are small for a good reason, and so are those of some biases."""
    last = max(g.step for g in gradients)
    wanted = run.matrices or {g.subject for g in gradients}
    return [g for g in gradients if g.subject in wanted and g.step <= share * last]


RULE = Rule(
    name="VanishingGradient",
    meaning="Gradients that are almost zero: the layers behind them do not learn.",
    advice="Check the initialisation and the activations (ReLU, not sigmoid), add normalization or skip connections.",
    source=AWS,
    aws={"threshold": 1e-7, "early_share": 1.0, "layers_share": 0.0},
    tuned={"threshold": 1e-7, "early_share": 0.5, "layers_share": 0.2},
    look=look,
)
