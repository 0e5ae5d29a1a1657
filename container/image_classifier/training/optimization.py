"""The loss, the optimizer, and the course of the learning rate as a plain function of the step."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from image_classifier.training.hyperparameters import Hyperparameters


def make_optimizer(
    parameters: Iterable[nn.Parameter], chosen: Hyperparameters, head: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Build the optimizer over the parameters that learn.

    Args:
        parameters: of what is trained.
        chosen: kind of optimizer, rate, decay.
        head: those of them that learn at the full rate; the others at `backbone_learning_rate_factor` of it. All
            learn at the full rate where none are named. Each group's share of the rate is its `scale`.
    """
    groups = _groups([each for each in parameters if each.requires_grad], chosen, {id(each) for each in head})
    rate, decay = chosen.learning_rate, chosen.weight_decay
    if chosen.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=chosen.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if chosen.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay)


def _groups(learning: list[nn.Parameter], chosen: Hyperparameters, head: set[int]) -> list[dict[str, Any]]:
    backbone = [each for each in learning if id(each) not in head] if head else []
    full = [each for each in learning if id(each) in head] if head else learning
    groups = [{"params": full, "scale": 1.0}, {"params": backbone, "scale": chosen.backbone_learning_rate_factor}]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def make_loss(class_counts: tuple[int, ...], chosen: Hyperparameters) -> nn.CrossEntropyLoss:
    """Build the loss; balanced weights are the inverse class frequencies, with a mean of one over the samples."""
    weight = None
    if chosen.class_weights == "balanced":
        weight = sum(class_counts) / (len(class_counts) * torch.tensor(class_counts, dtype=torch.float32))
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=chosen.label_smoothing)


def learning_rate(chosen: Hyperparameters, step: int, total: int) -> float:
    """Learning rate of a step, 0 <= step < total.

    cosine falls from the full rate to zero (Loshchilov & Hutter 2017); one_cycle climbs for 30 % of the job from
    1/25 of the rate and then falls to zero the same way (Smith 2018).
    """
    done = step / total
    if chosen.schedule == "constant":
        return chosen.learning_rate
    if chosen.schedule == "cosine":
        return chosen.learning_rate * _half_cosine(done)
    climb = 0.3
    if done < climb:
        return chosen.learning_rate * (1 / 25 + (1 - 1 / 25) * (1 - _half_cosine(done / climb)))
    return chosen.learning_rate * _half_cosine((done - climb) / (1 - climb))


def _half_cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))
