"""`serve` on a GPU: its size, its answers, its memory."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from calls import context
from doors import ENGINE
from gpus import needs_gpu
from image_classifier import artifact, images, networks
from image_classifier.config import Config, Preprocessing
from image_classifier.contract import Settings
from image_classifier.half import Half
from image_classifier.serving import engines, handler, pace
from server import Server, serving

pytestmark = needs_gpu
COLOURS = [(number * 30, 255 - number * 25, 128) for number in range(8)]
VERBOSE = "application/json;verbose"
Picture = Callable[..., bytes]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose activations take tens of megabytes a picture."""
    folder = tmp_path_factory.mktemp("large") / "model"
    torch.manual_seed(0)
    config = Config(architecture="resnet18", classes=tuple("abcd"), preprocessing=Preprocessing(image_size=512))
    artifact.save(folder, networks.build("resnet18", 4), config)
    return folder


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--gpus", "all") if ENGINE else ()
    with serving(trained / "model", tmp_path_factory.mktemp("gpu") / "log", flags) as server:
        yield server.wait_until_ready(300)


def probabilities(server: Server, body: bytes) -> list[float]:
    answer = server.invoke(body, Accept=VERBOSE)
    assert answer.status == 200, answer.body
    return list(answer.json["probabilities"])


def test_there_is_a_worker_a_gpu_and_the_log_says_how_it_computes(served: Server) -> None:
    assert f"\nWorkers: {torch.cuda.device_count()} with " in served.log
    assert "1 a GPU; " in served.log
    assert "\nEngine: PyTorch " in served.log
    assert ", on cuda:0; " in served.log
    assert "\nMeasured: a forward pass takes " in served.log


def test_its_answers_are_the_cpu_s_also_when_many_ask(served: Server, trained: Path, picture: Picture) -> None:
    bodies = [picture(colour, (60, 50)) for colour in COLOURS]
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: probabilities(served, body), bodies * 4))
    exact = engines.load(trained / "model", Settings.from_environment({"CLASSIFIER_ENGINE": "eager"}), engines.CPU, 1)
    pixels = np.stack([images.read(body, exact.config.preprocessing, 10**8) for body in bodies])
    wanted = (torch.from_numpy(exact.logits(pixels)) / exact.config.temperature).softmax(1)
    torch.testing.assert_close(torch.tensor(answers), wanted.repeat(4, 1), rtol=0, atol=1e-2)


@pytest.mark.parametrize("half", [None, *Half])
def test_each_kind_of_number_gives_the_cpu_s_answers(large: Path, half: Half | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 512, 512, 3), np.uint8)
    settings = Settings.from_environment({"CLASSIFIER_ENGINE": half or "eager"})
    exact = engines.load(large, Settings.from_environment({"CLASSIFIER_ENGINE": "eager"}), engines.CPU, 1).logits(
        pixels
    )
    answer = engines.load(large, settings, "cuda:0", 1).logits(pixels)
    assert np.abs(answer - exact).max() / np.abs(exact).max() < 3e-2


def test_a_request_that_does_not_fit_is_507_and_the_next_one_is_answered(
    large: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASSIFIER_ENGINE", "eager")
    monkeypatch.setattr(handler, "_service", None)
    made = context(large)
    made.system_properties["gpu_id"] = 0
    handler.handle(None, made)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        assert ask(large, picture()) == 507
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ask(large, picture()) == 200


def ask(folder: Path, body: bytes) -> int:
    made = context(folder, {"x-classifier-content-type": "application/json"})
    handler.handle([{"body": json.dumps({"instances": [{"b64": base64.b64encode(body).decode()}]}).encode()}], made)
    return int(made.get_response_status(0)[0] or 200)


def test_another_process_measures_the_gpu_and_a_batch_pays(large: Path, trained: Path) -> None:
    for folder in (large, trained / "model"):
        measured = asyncio.run(pace.ask(folder, "cuda:0", 1, 300))
        assert measured is not None
        assert measured.seconds[1] > 0
    assert measured.batch > 1  # a small network on small pictures: launching kernels is all it costs
