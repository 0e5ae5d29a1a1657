"""The rules' verdicts as the page shows them: measured value against threshold, over steps and by subject.

A sentence never goes beyond its verdict: advice is shown where there is an issue and nowhere else, and values beyond a
threshold that make no issue are said to make none.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from image_classifier.insight.report.charts import XY, Axis, Bar, Bars, Chart, Level, Series, Table, axis_of
from image_classifier.insight.report.wording import DASH, count, number, sentence
from image_classifier.insight.verdict import Point, Status, Verdict

NONE = "No rules were run on this job."
_LINES = 4  # subjects that are drawn, those nearest to the threshold
_ROWS = 10  # subjects in the table
_ORDER = [Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED]

Subjects = dict[str, list[Point]]


@dataclass(frozen=True)
class Card:
    """One rule. Values over steps are a chart with a table; one value for each subject is bars."""

    verdict: Verdict
    counted: str
    chart: Chart | None
    bars: Bars | None
    table: Table | None
    parameters: str

    @property
    def issue(self) -> bool:
        """Whether the rule found an issue."""
        return self.verdict.status is Status.ISSUE


def cards(verdicts: Sequence[Verdict], epochs: Sequence[int] = ()) -> tuple[Card, ...]:
    """A card for each rule: issues first, those that could not look last.

    Args:
        verdicts: of all rules.
        epochs: of the job; a rule that measures just these counts in epochs.
    """
    checked = [consistent(verdict) for verdict in verdicts]
    ordered = sorted(checked, key=lambda each: (_ORDER.index(each.status), each.kind == "profiler"))
    return tuple(_card(verdict, epochs) for verdict in ordered)


def consistent(verdict: Verdict) -> Verdict:
    """The verdict with its reason as a sentence; one that claims an issue and counts none says so in its place."""
    reason = sentence(verdict.reason.removeprefix("Not evaluated: "))
    if verdict.status is not Status.ISSUE or verdict.violations:
        return replace(verdict, reason=reason)
    reason = f"The rule contradicts itself: it claims an issue, and no value is beyond its threshold ({reason})"
    return replace(verdict, status=Status.NOT_EVALUATED, reason=reason, value=None, points=())


def _card(verdict: Verdict, epochs: Sequence[int]) -> Card:
    subjects = _by_subject(verdict)
    over_steps = any(len(points) > 1 for points in subjects.values())
    return Card(
        verdict=verdict,
        counted=_counted(verdict),
        chart=_chart(verdict, subjects, epochs) if over_steps else None,
        bars=_bars(verdict, subjects) if subjects and not over_steps else None,
        table=_table(subjects) if over_steps else None,
        parameters=", ".join(f"{name} = {_plain(value)}" for name, value in verdict.parameters.items()),
    )


def _plain(value: float | str | bool) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _counted(verdict: Verdict) -> str:
    if not verdict.datapoints:
        return ""
    if not any(point.broken for point in verdict.points):
        return f"{count(verdict.datapoints, 'value')} measured."
    beyond = f"{verdict.violations:,} of {count(verdict.datapoints, 'measured value')} beyond the threshold"
    return f"{beyond}." if verdict.status is Status.ISSUE else f"{beyond}, too few for an issue."


def _by_subject(verdict: Verdict) -> Subjects:
    """Points of each subject in the order of steps; subjects beyond the threshold, or nearest to it, first."""
    groups: Subjects = defaultdict(list)
    for point in sorted(verdict.points, key=lambda each: each.step):
        groups[point.subject].append(point)
    sign = 1 if _bad_is_high(verdict) else -1

    def badness(item: tuple[str, list[Point]]) -> tuple[bool, float]:
        worst = max((sign * point.value for point in item[1] if point.value == point.value), default=0.0)
        return any(point.broken for point in item[1]), worst

    return dict(sorted(groups.items(), key=badness, reverse=True))


def _bad_is_high(verdict: Verdict) -> bool:
    """On which side of the threshold trouble lies: where the broken points are, or else where the others are not."""
    limit = verdict.threshold
    if limit is None:
        return True
    broken = [point.value for point in verdict.points if point.broken]
    if broken:
        return sum(value >= limit for value in broken) * 2 >= len(broken)
    return sum(point.value <= limit for point in verdict.points) * 2 >= len(verdict.points)


def _chart(verdict: Verdict, subjects: Subjects, epochs: Sequence[int]) -> Chart:
    drawn = dict(list(subjects.items())[:_LINES])
    points = [point for group in drawn.values() for point in group]
    steps = [point.step for point in points]
    levels = _levels(verdict)
    in_epochs = len(epochs) > 1 and set(steps) <= set(epochs) and len(set(steps)) >= len(epochs) - 1
    return Chart(
        title=f"{verdict.rule}: {verdict.reason}",
        x=Axis(min(steps), max(steps), "epoch" if in_epochs else "step", whole=True),
        y=axis_of([point.value for point in points] + [level.value for level in levels]),
        series=[Series(name or "measured", _xy(group)) for name, group in drawn.items()],
        levels=levels,
        broken=[(point.step, point.value) for point in points if point.broken],
    )


def _levels(verdict: Verdict) -> list[Level]:
    limit = verdict.threshold
    return [] if limit is None else [Level(limit, f"threshold {number(limit)}")]


def _xy(points: list[Point]) -> list[XY]:
    return [(point.step, point.value) for point in points]


def _bars(verdict: Verdict, subjects: Subjects) -> Bars:
    """One value for each subject, beside the threshold."""
    points = [group[0] for group in subjects.values()][:_ROWS]
    limit = verdict.threshold
    longest = max([abs(point.value) for point in points if point.value == point.value] + [abs(limit or 0.0)]) or 1.0
    rows = [
        Bar(p.subject or "measured", number(p.value), 100 * min(1.0, abs(p.value) / longest), p.broken) for p in points
    ]
    return Bars(rows, None if limit is None else 100 * abs(limit) / longest, number(limit), _more(subjects))


def _more(subjects: Subjects) -> str:
    hidden = len(subjects) - _ROWS
    return f"The {_ROWS} nearest to the threshold; {hidden} more are not shown." if hidden > 0 else ""


def _table(subjects: Subjects) -> Table:
    rows = [_row(name, points) for name, points in list(subjects.items())[:_ROWS]]
    head = ["subject", "first", "last", "lowest", "highest", "beyond the threshold", "first at step"]
    return Table(head, rows, _more(subjects) or "By subject")


def _row(name: str, points: list[Point]) -> list[str]:
    values = [point.value for point in points]
    broken = [point for point in points if point.broken]
    ends = (values[0], values[-1], min(values), max(values))
    at = f"{broken[0].step:,}" if broken else DASH
    return [name or "measured", *(number(value) for value in ends), f"{len(broken)} of {len(points)}", at]
