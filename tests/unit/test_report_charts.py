"""Scales, ticks, and lines that lose no peak."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from image_classifier.insight.report import wording
from image_classifier.insight.report.charts import MOST, SIDE, Axis, Chart, Series, axis_of, shade, thin

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(VALUES, min_size=1), st.booleans())
@example([0.0, 1.0, 101.0], False)
def test_every_value_and_every_tick_lies_on_the_axis(values: list[float], zero: bool) -> None:
    axis = axis_of(values, zero=zero)
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert all(0 <= tick.place <= 100 for tick in axis.ticks())
    assert axis.low <= min(value for value in values if value > 0 or not axis.log)  # it has no place for 0
    assert max(values) <= axis.high
    assert len(axis.ticks()) <= 12


@given(st.floats(1e-12, 1e-3), st.floats(10, 1e12))
def test_many_decades_make_a_logarithmic_axis(low: float, high: float) -> None:
    axis = axis_of([low, high, math.nan, 0.0])
    assert axis.log
    assert axis.place(math.sqrt(low * high)) == pytest.approx(0.5)
    assert 0 < len(axis.ticks()) <= 7


def test_ticks_are_round_and_whole_where_they_must_be() -> None:
    assert [tick.label for tick in Axis(0, 10).ticks(5)] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in Axis(1, 3, whole=True).ticks(6)] == ["1", "2", "3"]
    assert [tick.label for tick in Axis(7, 7).ticks()] == ["7"]


@given(st.lists(st.floats(-1e3, 1e3), max_size=3000))
def test_thinning_keeps_the_order_the_lowest_and_the_highest(values: list[float]) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = thin(points)
    assert len(kept) <= MOST + 2
    assert list(kept) == sorted(kept)
    assert set(kept) <= set(points)
    if values:
        assert {min(values), max(values)} <= {y for _, y in kept}


def test_a_value_that_is_no_number_breaks_the_line() -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, math.nan), (3.0, math.inf), (4.0, 1.0)]
    chart = Chart("", Axis(0, 4), Axis(0, 1), [Series("a", points)])
    assert chart.paths() == [f"M0 {SIDE}L250 0M1000 0"]
    assert chart.dots() == [f"M0 {SIDE}h0M250 0h0M1000 0h0"]


@given(st.floats(1e-9, 1e9))
def test_a_shade_grows_with_its_value(value: float) -> None:
    darkness = shade(value, 1e-9, 1e9)
    assert darkness is not None
    assert darkness <= (shade(min(1e9, 2 * value), 1e-9, 1e9) or 0)
    assert shade(math.nan, 1, 2) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (1234.5, "1,234"),
        (1e-7, "1.00e-07"),
        (2e9, "2.00e+09"),
        (math.nan, "not a number"),
    ],
)
def test_numbers_are_said_in_three_digits(value: float, said: str) -> None:
    assert wording.number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0123, "12.3 ms"), (5.5, "5.5 s"), (90, "1 min 30 s"), (3599.9, "1 h 0 min"), (7260, "2 h 1 min")],
)
def test_time_is_said_in_its_largest_units(seconds: float, said: str) -> None:
    assert wording.duration(seconds).replace(wording.SPACE, " ") == said


def test_lists_are_read_aloud() -> None:
    assert [wording.listed(list("abcdefgh")[:n]) for n in (0, 1, 2, 3, 8)] == [
        "",
        "a",
        "a and b",
        "a, b and c",
        "a, b, c, d, e and 3 more",
    ]
