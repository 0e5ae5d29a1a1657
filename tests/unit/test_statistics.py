"""Summaries of tensors: the numbers they name, for tensors of any content and size."""

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.insight import statistics

# far from the limits of float32, whose squares would overflow
numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, math.nan, math.inf, -math.inf])


def summary(values: torch.Tensor, **options: int) -> dict[str, float]:
    return dict(zip(statistics.FIELDS, statistics.summarize(values, **options).tolist(), strict=True))


@settings(deadline=None)
@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=4), elements=numbers))
def test_every_field_is_what_its_name_says(values: np.ndarray) -> None:
    found = summary(torch.from_numpy(values))
    finite = values[np.isfinite(values)].astype(np.float64)
    assert found["count"] == values.size
    assert found["nan"] == np.isnan(values).sum()
    assert found["inf"] == np.isinf(values).sum()
    if not finite.size:
        assert math.isnan(found["mean"])
        return
    assert found["zero"] == (finite == 0).sum()
    scale = np.abs(finite).max() + 1e-6
    expected = {
        "mean": finite.mean(),
        "mean_abs": np.abs(finite).mean(),
        "min": finite.min(),
        "max": finite.max(),
        "p5": np.quantile(finite, 0.05),
        "p95": np.quantile(finite, 0.95),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5 * scale), name
    assert found["l2"] == pytest.approx(np.linalg.norm(finite), rel=1e-4, abs=1e-5 * scale)
    assert found["variance"] == pytest.approx(finite.var(), rel=1e-3, abs=1e-5 * scale**2)


def test_squares_that_overflow_are_no_infinite_values() -> None:
    found = summary(torch.full((3,), 1e30))
    assert (found["nan"], found["inf"]) == (0, 0)
    assert found["l2"] == pytest.approx(math.sqrt(3) * 1e30)


def test_of_a_large_tensor_a_part_stands_for_the_whole() -> None:
    values = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(0)).relu()
    whole, part = summary(values), summary(values, largest=4096)
    for name in ("count", "nan", "inf", "mean", "l2", "min", "max"):
        assert part[name] == whole[name]
    for name in ("zero", "mean_abs", "variance", "p95"):
        assert part[name] == pytest.approx(whole[name], rel=0.05), name


def test_one_bad_value_in_a_large_tensor_is_found() -> None:
    values = torch.zeros(100_000)
    values[77_777] = math.nan
    assert summary(values, largest=100)["nan"] == 1


@pytest.mark.parametrize("count", [1, 7, 100, 12_345])
@pytest.mark.parametrize("largest", [1, 10, 1000])
def test_thinning_keeps_about_as_many_as_asked_for(count: int, largest: int) -> None:
    kept = len(statistics.thinned(torch.arange(count), largest))
    assert min(count, largest) / 6 <= kept <= min(count, largest)


def test_channels_last_is_summarized_without_another_order() -> None:
    values = torch.randn(4, 3, 5, 5)
    last = values.to(memory_format=torch.channels_last)
    assert sorted(statistics.flat(last).tolist()) == sorted(values.flatten().tolist())
    assert statistics.flat(last).data_ptr() == last.data_ptr()
