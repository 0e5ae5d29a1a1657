"""The same pixels on both sides: `serve` answers with the very numbers that `train` measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import doors
from image_classifier import artifact, compiled, images
from server import serving

Answers = dict[Path, dict[str, list[float]]]


@pytest.fixture(scope="module")
def files(pictures: Path) -> list[Path]:
    return sorted((pictures / "test").glob("*/*"))


@pytest.fixture(scope="module")
def answers(trained: doors.Finished, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """What /invocations says to every picture of the test split."""
    log = tmp_path_factory.mktemp("pixels") / "serve.log"
    with serving(trained.model, log) as server:
        server.wait_until_ready()
        yield {path: server.invoke(path.read_bytes(), Accept="application/json;verbose").json for path in files}


def test_the_logits_are_those_of_the_trained_network(
    trained: doors.Finished, files: list[Path], answers: Answers
) -> None:
    network, config = artifact.load(trained.model)
    read = [images.read(path.read_bytes(), config.preprocessing, 10**8) for path in files]
    pixels = torch.stack([images.to_tensor(picture) for picture in read])
    with torch.inference_mode():
        logits = network(images.normalise(pixels, config.preprocessing))
    over_http = torch.tensor([answers[path]["logits"] for path in files])
    assert (over_http - logits).abs().max() < 1e-4
    assert logits.std() > 0.1  # numbers that could differ
    probabilities = torch.tensor([answers[path]["probabilities"] for path in files])
    assert (probabilities - (logits / config.temperature).softmax(1)).abs().max() < 1e-5


def test_int8_answers_with_the_logits_of_its_own_network_which_mean_the_same(
    trained: doors.Finished, files: list[Path], answers: Answers, tmp_path: Path
) -> None:
    config = artifact.load_config(trained.model)
    with serving(trained.model, tmp_path / "serve.log", environment={"CLASSIFIER_ENGINE": "int8"}) as server:
        server.wait_until_ready()
        assert "Engine: OpenVINO int8" in server.log
        given = [server.invoke(path.read_bytes(), Accept="application/json;verbose").json["logits"] for path in files]
    over_http, exact = (np.array(each) for each in (given, [answers[path]["logits"] for path in files]))
    network = compiled.Network(compiled.path(trained.model, compiled.Kind.INT8), threads=1)
    own = network.logits(np.stack([images.read(path.read_bytes(), config.preprocessing, 10**8) for path in files]))
    assert np.abs(over_http - own).max() < 1e-4
    assert np.abs(over_http - exact).max() > 1e-3  # it is not fp32 that answers
    assert (over_http.argmax(1) == exact.argmax(1)).mean() >= 0.9


def test_accuracy_over_http_is_the_accuracy_that_training_measured(
    trained: doors.Finished, files: list[Path], answers: Answers
) -> None:
    classes = sorted(path.name for path in files[0].parent.parent.iterdir())
    right = sum(classes[int(answers[path]["topk_indices"][0])] == path.parent.name for path in files)
    measured = json.loads((trained.model / "metrics.json").read_text())["test_accuracy"]
    assert right / len(files) == pytest.approx(measured, abs=1e-9)
    assert right > len(files) / len(classes)  # better than chance: it is no constant answer


def test_the_mean_loss_over_http_is_the_loss_that_training_measured(
    trained: doors.Finished, files: list[Path], answers: Answers
) -> None:
    classes = sorted(path.name for path in files[0].parent.parent.iterdir())
    logits = torch.tensor([answers[path]["logits"] for path in files])
    targets = torch.tensor([classes.index(path.parent.name) for path in files])
    measured = json.loads((trained.model / "metrics.json").read_text())["test_loss"]
    assert float(torch.nn.functional.cross_entropy(logits, targets)) == pytest.approx(measured, abs=1e-4)
