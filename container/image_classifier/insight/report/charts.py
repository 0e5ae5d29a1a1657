"""Charts as numbers: scales, ticks and paths of inline SVG. How they look is the template's and the style sheet's.

A plot is drawn on a square of SIDE x SIDE units and stretched over its place; labels are HTML beside it, so text keeps
its size on a phone. Series differ by dash and mark, not by colour alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from image_classifier.insight.report.wording import number

SIDE = 1000
MOST = 240  # points of a line beyond which it is thinned
_MARKED = 40  # points up to which each one is marked
SHADES = 8  # of a field of values

XY = tuple[float, float]
Label = Callable[[float], str]


@dataclass(frozen=True)
class Tick:
    """A label on an axis, at a place in percent of its length."""

    place: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From numbers to places; a logarithmic one holds positive numbers."""

    low: float
    high: float
    name: str = ""
    log: bool = False
    whole: bool = False  # only whole numbers are ticked
    label: Label = number

    def place(self, value: float) -> float:
        """Place of a value, 0 to 1; values beyond the ends are put at them."""
        low, high, at = (self._scaled(each) for each in (self.low, self.high, value))
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 0.5

    def ticks(self, wanted: int = 5) -> list[Tick]:
        """Round numbers, at most about as many as wanted."""
        values = _decades(self.low, self.high, wanted) if self.log else _round_numbers(self.low, self.high, wanted)
        return [
            Tick(100 * self.place(value), self.label(value))
            for value in values
            if not self.whole or value == int(value)
        ]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


@dataclass(frozen=True)
class Series:
    """One line. Points are in the order of x; a value that is not a number breaks the line."""

    name: str
    points: Sequence[XY]
    marks: bool = True  # mark each point, when there are few
    faint: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line with a name: a threshold, or a value to compare with."""

    value: float
    name: str


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis with a name."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Chart:
    """A line chart."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    broken: Sequence[XY] = ()  # points beyond a threshold, marked as such
    moments: Sequence[Level] = ()  # vertical lines

    def paths(self) -> list[str]:
        """The `d` of each series' line."""
        return [self._line(thin(series.points)) for series in self.series]

    def dots(self) -> list[str]:
        """The `d` of each series' marks: strokes without length, which keep their form when the plot is stretched."""
        return [self._dots(s.points if s.marks and len(s.points) <= _MARKED else ()) for s in self.series]

    def broken_dots(self) -> str:
        """The `d` of the marks of points beyond a threshold."""
        return self._dots(thin(self.broken))

    def _dots(self, points: Iterable[XY]) -> str:
        return "".join(f"M{x} {y}h0" for x, y in (self._at(point) for point in points if math.isfinite(point[1])))

    def _line(self, points: Sequence[XY]) -> str:
        parts, pen = [], "M"
        for point in points:
            if not math.isfinite(point[1]):
                pen = "M"
                continue
            x, y = self._at(point)
            parts.append(f"{pen}{x} {y}")
            pen = "L"
        return "".join(parts)

    def _at(self, point: XY) -> tuple[int, int]:
        return round(SIDE * self.x.place(point[0])), round(SIDE * (1 - self.y.place(point[1])))


@dataclass(frozen=True)
class Bar:
    """One value as a bar; its length in percent of the longest."""

    name: str
    said: str
    length: float
    broken: bool


@dataclass(frozen=True)
class Bars:
    """Values beside a threshold, whose place is in percent of the longest."""

    rows: Sequence[Bar]
    threshold: float | None
    threshold_said: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def shade(value: float, low: float, high: float) -> int | None:
    """Darkness of a positive value on a logarithmic scale; None for what has none."""
    if not math.isfinite(value):
        return None
    return min(SHADES - 1, int(SHADES * Axis(low, high, log=True).place(value)))


def axis_of(values: Iterable[float], name: str = "", zero: bool = False, label: Label = number) -> Axis:
    """An axis with room for all finite values; logarithmic where they span more than two decades.

    Args:
        values: what is to be shown.
        name: of the axis.
        zero: begin at zero.
        label: how a tick is said.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    positive = [value for value in finite if value > 0]
    if not zero and positive and low >= 0 and high / min(positive) > 100:
        return Axis(min(positive), high, name, log=True, label=label)
    low = min(0.0, low) if zero else low
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(low if zero and low == 0 else low - room, high + room, name, label=label)


def thin(points: Sequence[XY], most: int = MOST) -> Sequence[XY]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / (most // 2))
    kept: list[XY] = []
    for start in range(0, len(points), size):
        part = [point for point in points[start : start + size] if math.isfinite(point[1])]
        kept += sorted({min(part, key=_y), max(part, key=_y)}) if part else [points[start]]
    return kept


def _y(point: XY) -> float:
    return point[1]


def _round_numbers(low: float, high: float, wanted: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _decades(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**i for i in range(first, last + 1, max(1, math.ceil((last - first + 1) / wanted)))]
