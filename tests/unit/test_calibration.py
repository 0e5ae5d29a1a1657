"""The temperature: found where it is known, and never absurd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from image_classifier.training.calibration import fit_temperature


def honest(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and targets that are drawn with the very probabilities that the logits say."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_logits_that_are_too_large_are_cooled_by_as_much(factor: float) -> None:
    logits, targets = honest(3000, 10)
    assert fit_temperature(factor * logits, targets) == pytest.approx(factor, rel=0.05)


def test_the_likelihood_is_best_there() -> None:
    logits, targets = honest(2000, 5)
    best = fit_temperature(3 * logits, targets)
    losses = [float(nn.functional.cross_entropy(3 * logits / (best * f), targets)) for f in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_where_all_is_right_no_answer_becomes_certain() -> None:
    targets = torch.arange(48) % 6
    logits = 10 * nn.functional.one_hot(targets, 6).float()
    confidence = (logits / fit_temperature(logits, targets)).softmax(1).amax()
    assert 0.95 < confidence < 0.99


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(2, 6), st.floats(0, 1e6), st.integers(0, 99))
def test_it_is_always_a_number_within_bounds(count: int, classes: int, scale: float, seed: int) -> None:
    logits, targets = honest(count, classes, seed)
    assert 0.05 <= fit_temperature(scale * logits, targets.flip(0)) <= 20


@pytest.mark.parametrize("logits", [torch.empty(0, 3), torch.full((2, 3), float("nan"))])
def test_without_numbers_nothing_is_changed(logits: torch.Tensor) -> None:
    assert fit_temperature(logits, torch.zeros(len(logits), dtype=torch.int64)) == 1.0
