"""What a job has changed of a network's weights, against what another job has changed of them."""

from collections.abc import Mapping

import torch

Weights = Mapping[str, torch.Tensor]


def assert_same(before: Weights, learnt: Weights, wanted: Weights, within: float) -> None:
    """Tensor by tensor, as a share of the update's own size: one that is missing, halved or doubled is off by half."""
    assert before.keys() == learnt.keys() == wanted.keys()
    for name, start in before.items():
        mine, other = (weights[name].double() - start.double() for weights in (learnt, wanted))
        off, size = float((mine - other).norm()), float(other.norm())
        assert off <= within * size, f"{name}: off by {off:.3g}, and the update has {size:.3g}"
