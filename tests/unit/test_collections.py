"""Collections by the classes of modules find activations in every architecture."""

import re

import pytest
import torch
from torch import nn
from torchvision import models

from image_classifier import networks
from image_classifier.insight import collections

# one of each family of torchvision
FAMILIES = (  # noqa: SIM905
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 "
    "mobilenet_v2 mobilenet_v3_small regnet_x_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t "
    "vgg11 vit_b_16 wide_resnet50_2"
).split()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_inputs_and_outputs_of_rectifiers_are_found(architecture: str) -> None:
    try:
        with torch.device("meta"):
            network = networks.build(architecture, 2)
    except NotImplementedError:
        network = networks.build(architecture, 2)
    expressions = collections.known(network, nn.CrossEntropyLoss())
    names = [name for name, _ in network.named_modules()]
    for collection, side in {"relu_input": "_input_0", "relu_output": "_output_0"}.items():
        found = [n for n in names for e in expressions[collection] for s in (side, "_output_0") if re.search(e, n + s)]
        assert len(found) > 3, collection


def test_nothing_else_is_taken_for_a_rectifier() -> None:
    expressions = collections.known(models.resnet18(), nn.CrossEntropyLoss())
    for name in ("layer1.0.bn1_output_0", "layer1.0_input_0", "conv1_input_0", "layer1.0.relu_output_0"):
        assert not any(re.search(expression, name) for expression in expressions["relu_input"]), name
    assert any(re.search(expression, "layer1.0.relu_input_1") for expression in expressions["relu_input"])


def test_a_head_alone_has_no_activations() -> None:
    assert collections.activations(nn.Linear(2, 2)) == {}
    expressions = collections.known(nn.Linear(2, 2), nn.CrossEntropyLoss())
    assert not any(re.search(expression, "relu_input_0") for expression in expressions["relu_input"])
    assert expressions["inputs"] == ["^Linear_input_0$"]
