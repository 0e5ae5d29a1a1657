"""HostMemoryIncrease."""

from image_classifier.insight.rules.memory import growth
from image_classifier.insight.rules.rule import OURS, Finding, Limits, NotEvaluated, Rule, need
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point


def look(run: Run, limits: Limits) -> Finding:
    """Growth of the machine's used memory over the run, after warming up."""
    memory = run.system.memory()
    if memory is None:
        raise NotEvaluated("no use of memory was sampled")
    need(len(memory.values) >= limits["patience"], f"{len(memory.values)} samples, and it takes {limits['patience']:g}")
    grown, last = growth(memory), float(memory.values[-1])
    reason = (
        f"Used memory grew steadily by {grown:.1f} points (threshold {limits['increase']:g}) and ended at {last:.0f} %."
    )
    point = Point(len(memory.values), grown, "memory", grown > limits["increase"])
    return Finding([point], reason, grown, limits["increase"])


RULE = Rule(
    name="HostMemoryIncrease",
    meaning="Memory of the machine that grows while training goes on, until the job is killed.",
    advice="Look for lists that grow with every step: losses with their graph, predictions, decoded pictures.",
    source=OURS,
    aws=None,
    tuned={"increase": 3.0, "patience": 20},
    look=look,
    kind="profiler",
)
