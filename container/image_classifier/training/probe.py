"""A linear probe: before all weights learn, the new head learns alone, so that its noise does not spoil the others."""

import logging
import time

import torch
from torch import nn

from image_classifier.training.averaging import Weights
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.optimization import learning_rate, make_optimizer, set_learning_rate
from image_classifier.training.sources import FeatureSource
from image_classifier.training.stopping import Stop

logger = logging.getLogger(__name__)


def learn_head(head: nn.Linear, source: FeatureSource, loss: nn.Module, chosen: Hyperparameters, stop: Stop) -> Weights:
    """Train the head on features for `probe_epochs`, in place; its learning rate falls to zero like a cosine.

    Returns:
        What the head has learnt.

    Raises:
        Stopped: the job was asked to stop.
    """
    plan = chosen.model_copy(update={"schedule": "cosine"})
    optimizer = make_optimizer(head.parameters(), plan)
    total = chosen.probe_epochs * -(-len(source) // chosen.batch_size)
    started, step, device = time.monotonic(), 0, head.weight.device
    for epoch in range(1, chosen.probe_epochs + 1):
        for features, targets in source.batches(chosen.batch_size, epoch):
            stop.check()
            set_learning_rate(optimizer, learning_rate(plan, step, total))
            _step(head, loss, optimizer, features.to(device), targets.to(device))
            step += 1
    seconds = time.monotonic() - started
    logger.info("The head learnt alone on features for %d epochs, in %.1f s.", chosen.probe_epochs, seconds)
    return head.state_dict()


def _step(
    head: nn.Linear, loss: nn.Module, optimizer: torch.optim.Optimizer, features: torch.Tensor, targets: torch.Tensor
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss(head(features), targets).backward()
    optimizer.step()
