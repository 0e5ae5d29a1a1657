"""What a rule says about a run."""

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """A verdict in one word. There is no fourth: a rule that could not look says so."""

    NO_ISSUE = "no issue"
    ISSUE = "issue"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class Point:
    """One measured value of a rule, for the chart of value against threshold."""

    step: int
    value: float
    subject: str = ""  # tensor, layer, core or worker that was measured
    broken: bool = False  # beyond the threshold


@dataclass(frozen=True)
class Verdict:
    """The judgement of one rule on one run."""

    rule: str  # as AWS names it: VanishingGradient
    status: Status
    reason: str  # one sentence with the measured number and the threshold; for not evaluated: why not
    value: float | None = None  # the worst measured value
    threshold: float | None = None
    violations: int = 0
    datapoints: int = 0
    points: tuple[Point, ...] = field(default=(), repr=False)
    parameters: dict[str, float | str | bool] = field(default_factory=dict)
    meaning: str = ""  # what the rule looks at, one sentence
    advice: str = ""  # what to do about it, one or two sentences
    source: str = ""  # where condition and numbers come from
    kind: str = "tensor"  # tensor or profiler
