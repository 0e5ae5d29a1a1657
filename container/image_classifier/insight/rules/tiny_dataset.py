"""TinyDataset."""

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Training pictures of a class, for a network whose layers all learn or one whose head learns."""
    counts = run.facts.class_counts
    need(counts, "run.json does not say how many pictures each class has")
    frozen = bool(run.facts.hyperparameters.get("freeze_backbone"))
    limit = limits["frozen"] if frozen else limits["learning"]
    typical = sorted(counts)[len(counts) // 2]
    points = [Point(0, float(typical), "training pictures of the median class", typical < limit)]
    learns = "only the head learns" if frozen else "all layers learn"
    reason = f"The median class has {typical} training pictures; it takes {limit:g} where {learns}."
    return Finding(points, reason, float(typical), limit)


RULE = Rule(
    name="TinyDataset",
    meaning="Too few pictures for what should be learned.",
    advice="Collect more pictures; until then freeze the backbone and use augmentation=standard.",
    source=OURS,
    aws=None,
    tuned={"learning": 20, "frozen": 5},
    look=look,
)
