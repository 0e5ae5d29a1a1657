"""What a rule is: a condition with its numbers, and what to do when it fires."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point

Profile = Literal["tuned", "aws"]
Limits = Mapping[str, float]

AWS = "Amazon SageMaker Debugger, list of built-in rules (docs.aws.amazon.com/sagemaker, debugger-built-in-rules)"
AWS_PROFILER = (
    "Amazon SageMaker Debugger, profiler rules (docs.aws.amazon.com/sagemaker, debugger-built-in-profiler-rules)"
)
OURS = "this project's own rule"


class NotEvaluated(Exception):
    """A rule could not look. The message is one sentence that says why."""


@dataclass(frozen=True)
class Finding:
    """What a rule measured.

    Args:
        points: every measured value, in the order of steps.
        reason: one sentence with the measured number and the threshold.
        issue: whether the rule fires; any broken point unless given.
        value: the number the sentence is about.
        threshold: what it is held against.
    """

    points: Sequence[Point]
    reason: str
    value: float | None = None
    threshold: float | None = None
    issue: bool | None = None

    @property
    def fires(self) -> bool:
        """Whether this is an issue."""
        return any(point.broken for point in self.points) if self.issue is None else self.issue


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        name: as AWS names it.
        meaning: what the rule looks at, one sentence.
        advice: what to do about it.
        source: where condition and numbers come from.
        aws: AWS's documented numbers; None for a rule that AWS has not.
        tuned: our numbers, chosen on the tuning half of the fault benchmark.
        look: measures a run against the numbers; raises NotEvaluated when it cannot.
        kind: tensor or profiler.
    """

    name: str
    meaning: str
    advice: str
    source: str
    aws: Limits | None
    tuned: Limits
    look: Callable[[Run, Limits], Finding] = field(repr=False)
    kind: str = "tensor"

    def limits(self, profile: Profile) -> Limits | None:
        """The rule's numbers in a profile; None where it has none."""
        return self.aws if profile == "aws" else self.tuned


def need(condition: object, why: str) -> None:
    """Say that a rule cannot look.

    Raises:
        NotEvaluated: the condition does not hold.
    """
    if not condition:
        raise NotEvaluated(why)


NO_EPOCHS = "no losses by epoch: neither history.csv nor recorded losses of training and evaluation"
