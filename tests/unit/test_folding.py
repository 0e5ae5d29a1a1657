"""BatchNorm folded away changes no number."""

import pytest
import torch
from torch import nn

from image_classifier import networks
from image_classifier.training.folding import folded


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "googlenet", "densenet121", "shufflenet_v2_x0_5"])
def test_a_folded_network_gives_the_same_numbers(architecture: str) -> None:
    torch.manual_seed(0)
    network = networks.build(architecture, 3).train()
    for part in network.modules():  # fresh statistics would hide a mistake
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    faster = folded(network)
    assert network.training
    assert not faster.training
    inputs = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(faster(inputs), network.eval()(inputs), rtol=1e-4, atol=1e-4)


def norms(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_there_is_less_to_run() -> None:
    network = networks.build("resnet18", 3)
    assert (norms(network), norms(folded(network))) == (20, 0)


def test_a_network_that_cannot_be_traced_is_run_as_it_is() -> None:
    class Moody(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs if inputs.sum() > 0 else -inputs

    assert torch.equal(folded(Moody())(torch.tensor([-3.0])), torch.tensor([3.0]))
