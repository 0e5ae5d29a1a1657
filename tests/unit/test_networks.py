"""Architectures: heads, weights, freezing."""

import pytest
import torch

from image_classifier import networks
from image_classifier.errors import UserError

# One of each family that is built in a moment; RegNet, Inception and the large ones take seconds each.
HEADS = {
    "alexnet": ("classifier.6",),
    "convnext_tiny": ("classifier.2",),
    "densenet121": ("classifier",),
    "efficientnet_b0": ("classifier.1",),
    "googlenet": ("fc",),
    "mnasnet0_5": ("classifier.1",),
    "mobilenet_v2": ("classifier.1",),
    "mobilenet_v3_small": ("classifier.3",),
    "resnet18": ("fc",),
    "resnet50": ("fc",),
    "resnext50_32x4d": ("fc",),
    "shufflenet_v2_x0_5": ("fc",),
    "squeezenet1_1": ("classifier.1",),
    "swin_t": ("head",),
    "vgg11": ("classifier.6",),
    "vit_b_16": ("heads.head",),
    "wide_resnet50_2": ("fc",),
}
CHEAP = (
    "alex",
    "efficientnet_b1",
    "mnas",
    "mobile",
    "resnet",
    "resnext50",
    "shuffle",
    "squeeze",
    "vgg",
    "vit_b",
    "wide_resnet50",
)
TINY = "shufflenet_v2_x0_5"


@pytest.mark.parametrize("architecture", HEADS)
def test_the_head_is_found_by_what_changes_with_the_number_of_classes(architecture: str) -> None:
    assert networks.head_names(architecture) == HEADS[architecture]


@pytest.mark.parametrize(
    "architecture",
    [name for name in networks.architectures() if name.startswith(CHEAP)],
)
def test_every_cheap_classifier_has_a_head_that_can_be_replaced(architecture: str) -> None:
    assert len(networks.head_names(architecture)) == 1


def test_all_of_torchvisions_classifiers_are_known() -> None:
    assert len(networks.architectures()) >= 80
    assert {"resnet18", "resnet50", "vit_b_16", "maxvit_t"} <= set(networks.architectures())


@pytest.mark.parametrize("name", ["resnet", "ResNet18", "resnet-18", "fasterrcnn_resnet50_fpn", "", "x" * 500])
def test_an_unknown_architecture_comes_with_a_suggestion(name: str) -> None:
    with pytest.raises(UserError, match=r"did you mean .+\?"):
        networks.check_architecture(name)


@pytest.mark.parametrize("architecture", [TINY, "mobilenet_v3_small", "squeezenet1_1"])
def test_a_network_gives_one_logit_for_each_class(architecture: str) -> None:
    network = networks.build(architecture, 7).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


def test_squeezenets_head_is_not_linear() -> None:
    assert networks.linear_head(networks.build("squeezenet1_1", 2), "squeezenet1_1") is None


def test_a_linear_head_is_the_layer_itself_and_can_be_replaced() -> None:
    network = networks.build("mobilenet_v3_small", 4).eval()
    head = networks.linear_head(network, "mobilenet_v3_small")
    assert head is network.classifier[3]
    pictures = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        logits = network(pictures)
        networks.replace_head(network, "mobilenet_v3_small", torch.nn.Identity())
        torch.testing.assert_close(head(network(pictures)), logits)


def test_shapes_are_those_of_the_network() -> None:
    shapes = networks.state_shapes(TINY, 3)
    assert shapes == {name: value.shape for name, value in networks.build(TINY, 3).state_dict().items()}


def test_backbone_weights_load_whatever_their_number_of_classes() -> None:
    source, network = networks.build(TINY, 1000), networks.build(TINY, 3)
    head = network.fc.weight.clone()
    networks.load_backbone(network, TINY, source.state_dict(), "here")
    assert torch.equal(network.fc.weight, head)
    for name, value in network.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, source.state_dict()[name]), name


def test_old_weights_without_batch_counters_load() -> None:
    weights = {k: v for k, v in networks.build(TINY, 5).state_dict().items() if not k.endswith("num_batches_tracked")}
    networks.load_backbone(networks.build(TINY, 3), TINY, weights, "here")


def test_weights_without_a_head_load() -> None:
    weights = {k: v for k, v in networks.build(TINY, 5).state_dict().items() if not k.startswith("fc.")}
    networks.load_backbone(networks.build(TINY, 3), TINY, weights, "here")


@pytest.mark.parametrize("other", ["shufflenet_v2_x1_0", "mobilenet_v3_small"])
def test_weights_of_another_architecture_are_refused(other: str) -> None:
    weights = networks.build(other, 3).state_dict()
    with pytest.raises(UserError, match=rf"in x\.pth are not those of architecture={TINY}: \d+ of \d+ tensors"):
        networks.load_backbone(networks.build(TINY, 3), TINY, weights, "x.pth")


def test_a_missing_tensor_is_named() -> None:
    weights = dict(networks.build(TINY, 3).state_dict())
    del weights["conv1.0.weight"]
    with pytest.raises(UserError, match=r"first: conv1\.0\.weight"):
        networks.load_backbone(networks.build(TINY, 3), TINY, weights, "x.pth")


def test_only_the_head_of_a_frozen_network_learns() -> None:
    network = networks.build(TINY, 3)
    networks.freeze_backbone(network, TINY)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_statistics_of_a_frozen_backbone_do_not_drift(frozen: bool) -> None:
    network = networks.build(TINY, 3)
    if frozen:
        networks.freeze_backbone(network, TINY)
    before = {name: value.clone() for name, value in network.named_buffers()}
    networks.set_train_mode(network, frozen)
    network(torch.rand(4, 3, 64, 64) * 9).sum().backward()
    drifted = [name for name, value in network.named_buffers() if not torch.equal(value, before[name])]
    assert bool(drifted) is not frozen
