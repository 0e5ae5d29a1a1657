"""SimilarAcrossRuns."""

from image_classifier.insight.rules.rule import AWS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Parameters of two runs, step by step."""
    if run.other is None:
        raise NotEvaluated("no other run was named to compare with")
    theirs = {(w.step, w.subject): w for w in run.other.summaries("weight")}
    pairs = [(w, theirs[w.step, w.subject]) for w in run.trial.summaries("weight") if (w.step, w.subject) in theirs]
    need(pairs, "the two runs saved no weights of the same name and step")
    points = []
    for ours, other in pairs:
        apart = abs(ours.l2 - other.l2) / max(abs(ours.l2), abs(other.l2), 1e-12)
        points.append(Point(ours.step, apart, ours.subject, apart > limits["rtol"]))
    worst = max(points, key=lambda point: point.value)
    broken = sum(point.broken for point in points)
    reason = (
        f"{broken} of {len(points)} weights differ between the runs; the norm of {worst.subject} by "
        f"{100 * worst.value:.2g} % in step {worst.step}."
    )
    return Finding(points, reason, worst.value, limits["rtol"])


RULE = Rule(
    name="SimilarAcrossRuns",
    meaning="Whether two runs have the same weights.",
    advice="If they should be the same: compare seeds, data, versions and machines.",
    source=AWS,
    aws={"rtol": 1e-5},
    tuned={"rtol": 1e-5},
    look=look,
)
