"""Norms of gradients and sizes of updates by layer and step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from image_classifier.insight.report.charts import SHADES, Table, shade
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import count, number
from image_classifier.insight.trial import Summary

NONE = "No gradients or weights were recorded (no `tensors` folder), so there are no norms by layer."
_MOST_ROWS, _MOST_COLUMNS = 64, 40
_T = TypeVar("_T")


@dataclass(frozen=True)
class Cell:
    """One layer at one step; shade from 0 (little) to SHADES - 1, None for no value."""

    shade: int | None
    title: str


@dataclass(frozen=True)
class Heat:
    """A field of cells: layers from the input (top) to the output, steps from left to right."""

    title: str
    sentence: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    first: str
    last: str
    legend: tuple[str, str]
    table: Table


def heats(material: Material) -> tuple[Heat, ...]:
    """Gradient norms and relative updates, those that were recorded."""
    gradients, updates = (material.run.trial.summaries(kind) for kind in ("gradient", "update"))
    order = [each.subject for each in (*updates, *gradients)]  # gradients may come in the order of the backward pass
    places = {name: place for place, name in enumerate(dict.fromkeys(order))}
    gradients.sort(key=lambda each: places[each.subject])
    fields = (
        _heat("Gradient norm (L2)", "gradient norm", gradients, lambda each: each.l2),
        _heat("Relative update of a step", "relative update (mean)", updates, lambda each: each.mean),
    )
    return tuple(field for field in fields if field is not None)


def _heat(title: str, what: str, found: Sequence[Summary], value: Callable[[Summary], float]) -> Heat | None:
    grid: dict[str, dict[int, float]] = {}
    for each in _weights(found):
        grid.setdefault(each.subject.removesuffix(".weight"), {})[each.step] = value(each)
    positive = [v for steps in grid.values() for v in steps.values() if v > 0 and math.isfinite(v)]
    if not positive:
        return None
    low, high = min(positive), max(positive)
    steps = _thinned(sorted({step for values in grid.values() for step in values}), _MOST_COLUMNS)
    rows = tuple((name, _cells(grid[name], steps, what, low, high)) for name in _thinned(list(grid), _MOST_ROWS))
    return Heat(
        title,
        _sentence(grid, what),
        rows,
        f"step {steps[0]:,}",
        f"step {steps[-1]:,}",
        (number(low), number(high)),
        _table(grid),
    )


def _weights(found: Sequence[Summary]) -> list[Summary]:
    """Weights only, unless there is nothing else: biases would double the rows and say the same."""
    return [each for each in found if not each.subject.endswith("bias")] or list(found)


def _cells(values: dict[int, float], steps: Sequence[int], what: str, low: float, high: float) -> tuple[Cell, ...]:
    def cell(step: int) -> Cell:
        value = values.get(step, math.nan)
        if step not in values:
            return Cell(None, f"step {step:,}: not recorded")
        return Cell(shade(value, low, high) if high > low else SHADES // 2, f"step {step:,}: {what} {number(value)}")

    return tuple(cell(step) for step in steps)


def _sentence(grid: dict[str, dict[int, float]], what: str) -> str:
    """The layers with the smallest and the largest value at the last step each has."""
    last = {name: values[max(values)] for name, values in grid.items()}
    finite = {name: value for name, value in last.items() if math.isfinite(value)} or last
    low, high = min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
    if low == high:
        return f"At the last recorded step the {what} of {low} is {number(finite[low])}."
    return (
        f"At the last recorded step the {what} is smallest in {low} ({number(finite[low])}) "
        f"and largest in {high} ({number(finite[high])}), of {count(len(grid), 'layer')}."
    )


def _table(grid: dict[str, dict[int, float]]) -> Table:
    rows = []
    for name in _thinned(list(grid), _MOST_ROWS):
        values = [grid[name][step] for step in sorted(grid[name])]
        rows.append([name, *(number(value) for value in (values[0], values[-1], min(values), max(values)))])
    return Table(["layer", "first", "last", "lowest", "highest"], rows, "By layer")


def _thinned(items: Sequence[_T], most: int) -> list[_T]:
    """Evenly spread items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
