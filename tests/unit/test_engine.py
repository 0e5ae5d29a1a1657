"""The fastest form of a network gives the same numbers."""

import pytest
import torch
from torch import nn

from image_classifier import networks
from image_classifier.training import engine
from image_classifier.training.engine import Engine, fastest

CPU = torch.device("cpu")
SIDE = 32


def network(architecture: str = "mobilenet_v3_small") -> nn.Module:
    torch.manual_seed(0)
    return networks.build(architecture, 3)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ENOUGH", 0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "resnet18"])
def test_it_gives_the_numbers_of_the_network_in_their_order(architecture: str) -> None:
    made = network(architecture)
    faster = fastest(made, SIDE, 1, CPU)
    assert isinstance(faster, Engine)
    assert made.training  # the network itself is left as it is
    made.eval()
    with torch.inference_mode():
        for count in (5, 1):
            inputs = torch.randn(count, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(faster(inputs), made(inputs), rtol=1e-4, atol=1e-5)
        assert torch.equal(faster(inputs), faster(inputs))


@pytest.mark.parametrize(("pictures", "compiled"), [(499, False), (500, True)])
def test_few_pictures_are_not_worth_the_compiling(
    monkeypatch: pytest.MonkeyPatch, pictures: int, compiled: bool
) -> None:
    monkeypatch.setattr(engine, "Engine", lambda *_: nn.Identity())
    assert isinstance(fastest(network(), 224, pictures, CPU), nn.Identity) is compiled
    assert isinstance(fastest(network(), SIDE, pictures, CPU), nn.Identity) is False


@pytest.mark.usefixtures("always")
def test_a_network_that_openvino_cannot_run_is_run_with_pytorch_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(engine, "_convert", refuse)
    caplog.set_level("INFO")
    inputs = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        got = fastest(network(), SIDE, 1, CPU)(inputs)
        torch.testing.assert_close(got, network().eval()(inputs), rtol=1e-4, atol=1e-5)
    assert "no such operation" in caplog.text
