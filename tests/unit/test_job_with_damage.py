"""A whole job on data as they come: damaged pictures, classes without pictures, the same picture in two splits."""

import csv
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from image_classifier import artifact, machine
from image_classifier.training.dataset import Split
from image_classifier.training.sources import PictureSource
from jobs import run

FROZEN = {"architecture": "shufflenet_v2_x0_5", "augmentation": "light", "compile": "off"}
TUNED = {**FROZEN, "freeze_backbone": "false", "augmentation": "standard", "epochs": "1"}
DAMAGED = ("train/amber/001.png", "valid/blue/000.png", "test/amber/000.png", "test/amber/002.png")


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers of a parallel test run share the cores."""
    monkeypatch.setattr(machine, "cores", lambda: 1)
    yield


@pytest.fixture
def data(tmp_path: Path, folders: Callable[..., Path]) -> Path:
    """Ten pictures to train on, six to validate, eight to test."""
    for seed, (split, count) in enumerate({"train": 5, "valid": 3, "test": 4}.items()):
        folders(tmp_path / "data" / split, {"amber": count, "blue": count}, seed=seed)
    return tmp_path / "data"


def rows_of(base: Path) -> list[dict[str, str]]:
    with (base / "output" / "data" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def losses(model: Path, paths: list[Path]) -> list[float]:
    """What the saved network loses on each picture of its class's folder."""
    network, config = artifact.load(model)
    targets = [config.classes.index(path.parent.name) for path in paths]
    source = PictureSource(Split(tuple(paths), tuple(targets)), config.preprocessing, 10**6, threads=1)
    ((inputs, wanted),) = source.batches(len(paths))
    with torch.inference_mode():
        return torch.nn.functional.cross_entropy(network(inputs), wanted, reduction="none").tolist()


@pytest.mark.parametrize("chosen", [FROZEN, TUNED], ids=["features", "pictures"])
def test_a_job_leaves_damaged_pictures_out_names_them_and_each_answer_stays_with_its_picture(
    tmp_path: Path, data: Path, weights_dir: Path, caplog: pytest.LogCaptureFixture, chosen: dict[str, str]
) -> None:
    for name in DAMAGED:
        (data / name).write_bytes((data / name).read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        model = run(tmp_path, data, weights_dir, chosen)
    for name in DAMAGED:
        assert sum(message.startswith(f"Left out {name}: ") for message in caplog.messages) == 1, name
    rows = rows_of(tmp_path)
    good = [f"training/test/{name}" for name in ("amber/001.png", "amber/003.png", *(f"blue/00{i}.png" for i in range(4)))]
    assert [row["path"] for row in rows] == good
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    measured = losses(model, [data.parent / "data" / Path(*Path(row["path"]).parts[1:]) for row in rows])
    assert [float(row["loss"]) for row in rows] == pytest.approx(measured, rel=1e-3)
