"""Loss, accuracy and confusion, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from image_classifier.training.evaluation import Evaluator
from image_classifier.training.sources import FeatureSource
from image_classifier.training.stopping import Stop, Stopped

LOGITS = torch.tensor([[2.0, 0, 0], [0, 3.0, 0], [1.0, 0, 0], [0, 0, 4.0], [0, 0.5, 0]])
TARGETS = torch.tensor([0, 1, 1, 2, 2])
SAMPLES = FeatureSource(LOGITS.unsqueeze(0), TARGETS)


def evaluator(batch_size: int = 2, stop: Stop | None = None) -> Evaluator:
    return Evaluator(torch.device("cpu"), batch_size, stop or Stop())


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    result = evaluator().evaluate(nn.Identity(), SAMPLES, 3, "Testing")
    shares = [
        math.exp(row[target]) / sum(map(math.exp, row)) for row, target in zip(LOGITS.tolist(), TARGETS, strict=True)
    ]
    assert result.loss == pytest.approx(-sum(map(math.log, shares)) / 5, rel=1e-5)
    assert (result.correct, result.count, result.accuracy) == (3, 5, 0.6)
    assert result.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_the_size_of_the_batches_changes_nothing(batch_size: int) -> None:
    result = evaluator(batch_size).evaluate(nn.Identity(), SAMPLES, 3, "Testing")
    whole = evaluator(5).evaluate(nn.Identity(), SAMPLES, 3, "Testing")
    assert result.loss == pytest.approx(whole.loss, rel=1e-6)
    assert torch.equal(result.confusion, whole.confusion)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_learnt_and_the_mode_is_put_back(training: bool) -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first, again = (evaluator().evaluate(module, SAMPLES, 3, "x").loss for _ in range(2))
    assert first == again
    assert module.training is training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_stop_ends_it_and_puts_the_mode_back() -> None:
    stop, module = Stop(), nn.Identity().train()
    predictions = evaluator(2, stop).predict(module, SAMPLES, "x")
    next(predictions)
    stop.request()
    with pytest.raises(Stopped):
        next(predictions)
    assert module.training
