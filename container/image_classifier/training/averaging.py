"""An exponential moving average of the weights: often better than the last ones, and never as restless."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

Weights = dict[str, torch.Tensor]


class Average:
    """The moving average of a module's state (Polyak & Juditsky 1992), BatchNorm's statistics included.

    Args:
        decay: share of the average that a step keeps; 0 keeps no average, and then nothing here does anything.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self.weights: Weights = {}  # goes into checkpoints

    def update(self, module: nn.Module) -> None:
        """Take in the state after a step; the first one is taken as it is."""
        if not self._decay:
            return
        state = module.state_dict()
        if not self.weights:
            self.weights = _copy(state)
        for name, mean in self.weights.items():
            if mean.is_floating_point():
                mean.lerp_(state[name], 1 - self._decay)
            else:
                mean.copy_(state[name])

    @contextmanager
    def inside(self, module: nn.Module) -> Iterator[None]:
        """Put the average into the module for as long as the context lasts."""
        if not self.weights:
            yield
            return
        own = _copy(module.state_dict())
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def load(self, weights: Weights, device: torch.device) -> None:
        """Go on with the average of a checkpoint."""
        self.weights = {name: value.to(device) for name, value in weights.items()}


def _copy(state: Weights) -> Weights:
    return {name: value.detach().clone() for name, value in state.items()}
