"""Features stand in for pictures only where that changes nothing, and then change nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from image_classifier import networks
from image_classifier.images import Preprocessing
from image_classifier.training import features
from image_classifier.training.dataset import Split
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.features import Extractor
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop

ARCHITECTURE = "mobilenet_v3_small"  # dropout before the head


@pytest.mark.parametrize(
    ("architecture", "frozen", "augmentation", "wanted"),
    [
        (ARCHITECTURE, True, "none", True),
        (ARCHITECTURE, True, "light", True),
        (ARCHITECTURE, True, "standard", False),
        (ARCHITECTURE, False, "none", False),
        ("squeezenet1_1", True, "none", False),
    ],
)
def test_features_stand_in_only_for_a_frozen_linear_head_and_unchanging_pictures(
    architecture: str, frozen: bool, augmentation: str, wanted: bool
) -> None:
    chosen = Hyperparameters(architecture=architecture, freeze_backbone=frozen, augmentation=augmentation)
    assert features.stand_in(chosen, networks.build(architecture, 2)) is wanted


def source(folder: Path, augmentation: str = "none") -> PictureSource:
    paths = tuple(sorted(folder.rglob("*.png")))
    targets = tuple(int(path.parent.name == "blue") for path in paths)
    preprocessing = Preprocessing(image_size=32)
    return PictureSource(Split(paths, targets), preprocessing, 10_000, 2, seed=9, augmentation=augmentation)


@pytest.mark.parametrize("augmentation", ["none", "light"])
@pytest.mark.parametrize("epoch", [None, 1, 2])
def test_the_head_on_features_is_the_network_on_pictures(
    tmp_path: Path, folders: Callable[..., Path], augmentation: str, epoch: int | None
) -> None:
    pictures = source(folders(tmp_path, {"amber": 5, "blue": 4}), augmentation)
    network = networks.build(ARCHITECTURE, 2).eval()
    evaluator = Evaluator(torch.device("cpu"), 2, Stop())
    got = Extractor(network, ARCHITECTURE, evaluator, 9).extract(pictures, "Features")
    head = networks.linear_head(network, ARCHITECTURE)
    assert head is not None
    pairs = list(zip(got.batches(4, epoch), pictures.batches(4, epoch), strict=True))
    assert len(pairs) >= 2
    with torch.inference_mode():
        for (features_of, targets), (inputs, wanted) in pairs:
            assert torch.equal(targets, wanted)
            torch.testing.assert_close(head(features_of), network(inputs), rtol=1e-4, atol=1e-5)


def test_light_augmentation_shows_both_views(tmp_path: Path, folders: Callable[..., Path]) -> None:
    pictures = source(folders(tmp_path, {"amber": 5, "blue": 4}), "light")
    network = networks.build(ARCHITECTURE, 2).eval()
    got = Extractor(network, ARCHITECTURE, Evaluator(torch.device("cpu"), 4, Stop()), 9).extract(pictures, "x")
    shown = {got._view(row, epoch) for row in range(9) for epoch in range(1, 9)}
    assert shown == {0, 1}
    assert {got._view(row, None) for row in range(9)} == {0}


def test_computing_features_leaves_the_network_as_it_is(tmp_path: Path, folders: Callable[..., Path]) -> None:
    network = networks.build(ARCHITECTURE, 2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pictures = source(folders(tmp_path, {"amber": 2, "blue": 2}))
    Extractor(network, ARCHITECTURE, Evaluator(torch.device("cpu"), 4, Stop()), 9).extract(pictures, "x")
    assert network.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
