"""Pretrained weights: from the channel, from the image, or a clear word that they are not to be had."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import doors
from doors import NO_NETWORK, needs_engine
from image_classifier import networks

# The product's own way: a frozen backbone under a new head.
JOB = {"image_size": "32", "epochs": "1", "batch_size": "16"}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """A resnet18 for another number of classes."""
    torch.manual_seed(5)
    return networks.build("resnet18", 1000).state_dict()


def backbone_is(weights: dict[str, torch.Tensor], model: Path) -> bool:
    """Whether a trained model has these weights, and a head of its own."""
    trained = load_file(model / "model.safetensors")
    same = all(torch.equal(trained[name], weights[name]) for name in weights if not name.startswith("fc."))
    return same and trained["fc.weight"].shape == (6, 512)


def test_weights_of_the_channel_are_used_and_the_frozen_backbone_keeps_them(
    weights: dict[str, torch.Tensor], pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pretrained"
    folder.mkdir()
    torch.save(weights, folder / "resnet18-f37072fd.pth")
    done = doors.train(tmp_path / "base", JOB, {"training": pictures, "pretrained": folder})
    assert done.code == 0, done.log
    assert "Pretrained weights: taken from the `pretrained` channel" in done.log
    assert backbone_is(weights, done.model)


def test_the_model_of_an_earlier_job_can_be_the_start(trained: doors.Finished, pictures: Path, tmp_path: Path) -> None:
    done = doors.train(tmp_path, JOB, {"training": pictures, "pretrained": trained.model})
    assert done.code == 0, done.log
    assert backbone_is(load_file(trained.model / "model.safetensors"), done.model)


def test_weights_of_the_image_are_used(weights: dict[str, torch.Tensor], pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(weights, folder / "resnet18.pth")
    inside = "/baked" if doors.ENGINE else str(folder)
    flags = ("-v", f"{folder}:/baked:ro", *NO_NETWORK) if doors.ENGINE else ()
    environment = {"CLASSIFIER_WEIGHTS_DIR": inside}
    done = doors.train(tmp_path / "base", JOB, {"training": pictures}, flags=flags, environment=environment)
    assert done.code == 0, done.log
    assert "Pretrained weights: the `pretrained` channel: not there." in done.log
    assert f"Pretrained weights: taken from the image ({inside}/resnet18.pth)." in done.log
    assert backbone_is(weights, done.model)


@needs_engine
def test_without_weights_and_network_it_names_the_three_ways(pictures: Path, tmp_path: Path) -> None:
    done = doors.train(tmp_path, JOB, {"training": pictures}, flags=NO_NETWORK)
    assert done.code == 1, done.log
    assert len(done.failure) <= 1024
    assert "Traceback" not in done.failure
    for way in ("a channel named `pretrained`", "docker/weights/", "torchvision's download"):
        assert way in done.failure
    assert not (done.model / "model.safetensors").exists()
