"""The head learns alone before all weights do."""

import pytest
import torch
from torch import nn

from image_classifier.training import probe
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.sources import FeatureSource
from image_classifier.training.stopping import Stop, Stopped

TARGETS = torch.arange(30) % 3
FEATURES = FeatureSource(nn.functional.one_hot(TARGETS, 6).float().unsqueeze(0), TARGETS)


def learnt(stop: Stop | None = None, **options: object) -> nn.Linear:
    torch.manual_seed(0)
    head = nn.Linear(6, 3)
    given = {"batch_size": 8, "learning_rate": 0.1, "probe_epochs": 15, **options}
    probe.learn_head(head, FEATURES, nn.CrossEntropyLoss(), Hyperparameters.model_validate(given), stop or Stop())
    return head


def test_the_head_learns_what_its_features_tell() -> None:
    assert torch.equal(learnt()(FEATURES.features[0]).argmax(1), TARGETS)


def test_it_ends_the_same_every_time_and_whatever_the_schedule_of_the_rest() -> None:
    first = learnt()
    for again in (learnt(), learnt(schedule="one_cycle")):
        assert torch.equal(first.weight, again.weight)


def test_it_can_be_stopped() -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(Stopped):
        learnt(stop)
