"""Optimizers, and the course of the learning rate."""

import pytest
import torch
from torch import nn

from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.optimization import learning_rate, make_loss, make_optimizer, set_learning_rate


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimizer_takes_what_was_chosen(name: str, kind: type) -> None:
    chosen = Hyperparameters(optimizer=name, learning_rate=0.3, weight_decay=0.02, momentum=0.7)
    optimizer = make_optimizer(nn.Linear(2, 2).parameters(), chosen)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.02)
    assert group.get("momentum", 0.7) == 0.7


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    (group,) = make_optimizer(module.parameters(), Hyperparameters()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in module[1].parameters()]


def test_the_backbone_learns_at_its_share_of_the_rate() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    chosen = Hyperparameters(learning_rate=0.4, backbone_learning_rate_factor=0.25)
    optimizer = make_optimizer(module.parameters(), chosen, module[1].parameters())
    set_learning_rate(optimizer, 0.2)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {id(p): 0.05 if p in set(module[0].parameters()) else 0.2 for p in module.parameters()}


def test_without_a_head_all_learn_at_the_full_rate() -> None:
    optimizer = make_optimizer(nn.Linear(2, 2).parameters(), Hyperparameters(backbone_learning_rate_factor=0.1))
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2]


def test_balanced_weights_give_every_class_the_same_say() -> None:
    counts, logits = (6, 3, 1), torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0] * 6 + [1] * 3 + [2])
    loss = make_loss(counts, Hyperparameters(class_weights="balanced"))
    by_class = [nn.functional.cross_entropy(logits[targets == c], targets[targets == c]) for c in range(3)]
    torch.testing.assert_close(loss(logits, targets), torch.stack(by_class).mean())
    plain = make_loss(counts, Hyperparameters())
    torch.testing.assert_close(plain(logits, targets), nn.functional.cross_entropy(logits, targets))


def course(schedule: str, total: int = 1000) -> list[float]:
    chosen = Hyperparameters(schedule=schedule, learning_rate=0.5)
    return [learning_rate(chosen, step, total) for step in range(total)]


def test_constant_stays() -> None:
    assert set(course("constant")) == {0.5}


def test_cosine_falls_from_the_full_rate_to_nearly_zero() -> None:
    rates = course("cosine")
    assert rates[0] == 0.5
    assert rates[500] == pytest.approx(0.25)
    assert 0 < rates[-1] < 1e-5
    assert rates == sorted(rates, reverse=True)


def test_one_cycle_climbs_and_falls() -> None:
    rates = course("one_cycle")
    assert rates[0] == pytest.approx(0.5 / 25)
    assert max(rates) == pytest.approx(rates[300]) == pytest.approx(0.5)
    assert rates[:300] == sorted(rates[:300])
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert 0 < rates[-1] < 1e-5


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_a_job_of_one_step_learns(schedule: str) -> None:
    assert course(schedule, 1)[0] > 0
