"""`train` on a GPU: whole jobs, what crosses to the device, NCCL, and the note on 16-bit numbers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpus import needs_gpu
from image_classifier import artifact
from image_classifier.config import Preprocessing
from image_classifier.half import Half
from image_classifier.training import compiling
from image_classifier.training.dataset import Split
from image_classifier.training.distributed import World
from image_classifier.training.sources import PictureSource
from jobs import run

pytestmark = needs_gpu
SMALL = "shufflenet_v2_x0_5"
NCCL = """
import torch
from torch import nn
from image_classifier.training import batch_norm, distributed
from image_classifier.training.distributed import World
from image_classifier.training.stopping import Stop

world = distributed.join()
assert torch.distributed.get_backend() == "nccl"
assert (world.rank, world.size, world.device) == (0, 1, torch.device("cuda", 0))
several = World(0, 2, 0, 1)  # takes the ways of several processes, in a group of one
assert several.agree(Stop(), 3, 4) == (3, 4)
layer = nn.Linear(2, 1).cuda()
layer(torch.ones(5, 2, device="cuda")).sum().backward()
before = [p.grad.clone() for p in layer.parameters()]
numbers = several.sum_gradients(layer.parameters(), torch.tensor(7.0, device="cuda"))
assert numbers.tolist() == [7]
for old, p in zip(before, layer.parameters(), strict=True):
    torch.testing.assert_close(p.grad, old)
inputs = torch.randn(4, 3, 5, 5, device="cuda")
own, ours = nn.BatchNorm2d(3).cuda(), batch_norm.synchronize(nn.Sequential(nn.BatchNorm2d(3).cuda()))
torch.testing.assert_close(ours(inputs), own(inputs), rtol=1e-3, atol=1e-4)
distributed.leave()
print("met")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, folders: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("data")
    for seed, (split, count) in enumerate({"train": 20, "valid": 10, "test": 5}.items()):
        folders(root / split, {"amber": count, "blue": count}, seed=seed)
    return root


@pytest.mark.parametrize("recipe", ["quick", "balanced"])
def test_a_whole_job_ends_with_a_good_model_and_the_note_on_16_bit_numbers(
    recipe: str, tmp_path: Path, data: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "ENOUGH", 20)
    chosen = {"recipe": recipe, "architecture": SMALL, "batch_size": "8"}
    model = run(tmp_path, data, weights_dir, chosen)
    network, config = artifact.load(model)
    assert all(p.isfinite().all() for p in network.parameters())
    assert config.metrics["test_accuracy"] >= 0.5
    assert config.half is not None
    assert list(config.half.variants) == [*Half]
    assert all(variant.pictures == 20 for variant in config.half.variants.values())
    facts = json.loads((tmp_path / "output" / "data" / "run.json").read_text())
    assert facts["device"] == torch.cuda.get_device_name(0)


def test_pictures_arrive_as_on_a_cpu(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = tuple(sorted((data / "valid").rglob("*.png")))
    read = PictureSource(Split(paths, (0,) * len(paths)), Preprocessing(image_size=32), 10**6, 2, world=World())
    on_gpu = torch.cat([inputs for inputs, _ in read.batches(8)])
    assert on_gpu.device.type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = torch.cat([inputs for inputs, _ in read.batches(8)])
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-5)


def test_processes_meet_over_nccl() -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533"}
    done = subprocess.run(
        [sys.executable, "-c", NCCL],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.stdout.splitlines()[-1:] == ["met"], done.stderr
