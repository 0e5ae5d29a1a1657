"""FrozenByMistake."""

from image_classifier.insight.rules.rule import OURS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, _limits: Limits) -> Finding:
    """Parameters without a gradient although `freeze_backbone=false` asks that all learn."""
    facts = run.facts
    need(facts.trainable or facts.frozen, "run.json does not name the parameters that learn")
    wanted = facts.hyperparameters.get("freeze_backbone")
    if wanted is None or wanted:
        raise NotEvaluated(
            "the backbone is meant to be frozen" if wanted else "run.json does not say what should learn"
        )
    points = [Point(0, 1.0, name, True) for name in facts.frozen]
    total = len(facts.frozen) + len(facts.trainable)
    named = f", such as {facts.frozen[0]}" if facts.frozen else ""
    reason = f"{len(facts.frozen)} of {total} parameters are frozen{named}; freeze_backbone=false wants 0."
    return Finding(points, reason, float(len(facts.frozen)), 0.0)


RULE = Rule(
    name="FrozenByMistake",
    meaning="Parameters that cannot learn although they should.",
    advice="Set requires_grad on them before the optimizer is made, or set freeze_backbone=true.",
    source=OURS,
    aws=None,
    tuned={},
    look=look,
)
