"""Fixtures: pictures made on the spot, folders of them, a small artifact. Heavy packages load when asked for."""

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

# Before torch is imported: its threads, times the workers of a parallel run, would trip over each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL = "shufflenet_v2_x0_5"  # BatchNorm, a linear head, 1.4 MB
COLOURS = {"amber": (230, 160, 30), "blue": (20, 40, 220), "coral": (250, 100, 90), "dark": (15, 15, 15)}

MakePicture = Callable[..., bytes]
MakeFolders = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _picture(
    colour: Any = (200, 60, 20), size: tuple[int, int] = (40, 30), kind: str = "PNG", mode: str = "RGB", **options: Any
) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, kind, **options)
    return stream.getvalue()


def _noisy(colour: tuple[int, int, int], size: tuple[int, int], draw: random.Random) -> bytes:
    """A colour with noise: pictures of one class resemble each other, and no two are the same."""
    pixels = bytes(min(255, max(0, part + draw.randint(-60, 60))) for _ in range(size[0] * size[1]) for part in colour)
    stream = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def picture() -> MakePicture:
    """Make the bytes of a picture of one colour."""
    return _picture


@pytest.fixture(scope="session")
def folders() -> MakeFolders:
    """Make a folder of noisy pictures for each class: `folders(root, {"amber": 3, "blue": 2})`."""

    def make(root: Path, counts: Mapping[str, int], size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
        for name, count in counts.items():
            draw = random.Random(f"{seed}-{name}")
            colour = COLOURS.get(name) or tuple(draw.randint(0, 255) for _ in range(3))
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (root / name / f"{number:03d}.png").write_bytes(_noisy(colour, size, draw))
        return root

    return make


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "pretrained" weights of small architectures, as the image would hold them."""
    import torch
    from safetensors.torch import save_file

    from image_classifier import networks

    folder = tmp_path_factory.mktemp("weights")
    for architecture in (SMALL, "mobilenet_v3_small"):
        torch.manual_seed(7)
        network = networks.build(architecture, 5)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / f"{architecture}.safetensors")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, folders: MakeFolders, weights_dir: Path) -> Path:
    """The base directory of a finished training job with three classes."""
    from image_classifier import machine
    from image_classifier.contract import Layout, Settings
    from image_classifier.training import hyperparameters
    from image_classifier.training.job import Job
    from image_classifier.training.stopping import Stop

    base = tmp_path_factory.mktemp("trained")
    data = base / "input" / "data" / "training"
    for split, count in {"train": 6, "valid": 3, "test": 3}.items():
        folders(data / split, {"01.amber": count, "02.blue": count, "03.dark_grey": count}, seed=count)
    chosen = hyperparameters.parse({"architecture": SMALL, "epochs": "3", "batch_size": "4", "image_size": "32"})
    settings = Settings.from_environment({"CLASSIFIER_WEIGHTS_DIR": str(weights_dir)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "cores", lambda: 1)
        Job(Layout(base), settings, chosen, Stop()).run()
    return base


@pytest.fixture
def stop_at() -> Callable[[int], Any]:
    """Make a Stop that is asked for at the given check: before a step, or before a batch of an evaluation."""
    from image_classifier.training.stopping import Stop

    class StopAt(Stop):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number
            self.checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == self.number:
                self.request()
            super().check()

    return StopAt


@pytest.fixture(scope="session")
def python() -> Run:
    """Run a program in a Python of its own: `python("-c", code, KEY="value")`."""

    def run(*arguments: str, cwd: Path | None = None, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd,
            env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python", **environ},
        )

    return run


@pytest.fixture
def model(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished job's model, loaded in the handler of this process."""
    from calls import context
    from image_classifier.serving import handler

    monkeypatch.setattr(handler, "_service", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handler.handle(None, context(trained / "model"))
    return trained / "model"
