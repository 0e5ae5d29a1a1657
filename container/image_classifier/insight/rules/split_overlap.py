"""SplitOverlap."""

from image_classifier.insight.rules.rule import OURS, Finding, Limits, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Pictures of a split that are also training pictures, byte by byte."""
    doubles = run.facts.duplicates
    need(doubles, "run.json does not say whether splits share pictures")
    shares = {split: count / max(1, run.facts.counts.get(split, count)) for split, count in doubles.items()}
    points = [Point(0, share, split, share > limits["threshold"]) for split, share in shares.items()]
    worst = max(shares, key=lambda split: shares[split])
    reason = (
        f"{doubles[worst]} pictures of {worst} are training pictures too: {100 * shares[worst]:.1f} % of them "
        f"(threshold {100 * limits['threshold']:g} %)."
    )
    return Finding(points, reason, shares[worst], limits["threshold"])


RULE = Rule(
    name="SplitOverlap",
    meaning="Pictures that are in training and in evaluation: the accuracy is better than the network.",
    advice="Remove the doubles from the evaluation splits, and split by source (photo session, patient, video).",
    source=OURS,
    aws=None,
    tuned={"threshold": 0.01},
    look=look,
)
