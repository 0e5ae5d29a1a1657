"""A whole job on data as they come: damaged pictures, classes without pictures, the same picture in two splits."""

import csv
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from image_classifier import artifact, machine
from image_classifier.errors import UserError
from image_classifier.insight.run_facts import RunFacts
from image_classifier.training.dataset import Split
from image_classifier.training.sources import PictureSource
from jobs import run

FROZEN = {"architecture": "shufflenet_v2_x0_5", "augmentation": "light", "compile": "off"}
TUNED = {**FROZEN, "freeze_backbone": "false", "augmentation": "standard", "epochs": "1"}
DAMAGED = ("train/amber/001.png", "valid/blue/000.png", "test/amber/000.png", "test/amber/002.png")


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a parallel test run share the cores."""
    monkeypatch.setattr(machine, "cores", lambda: 1)


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
    good = [
        f"training/test/{name}" for name in ("amber/001.png", "amber/003.png", *(f"blue/00{i}.png" for i in range(4)))
    ]
    assert [row["path"] for row in rows] == good
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    measured = losses(model, [data.parent / "data" / Path(*Path(row["path"]).parts[1:]) for row in rows])
    assert [float(row["loss"]) for row in rows] == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("chosen", [FROZEN, TUNED], ids=["features", "pictures"])
def test_files_that_cannot_be_read_are_left_out_with_the_reason_like_damaged_ones(
    tmp_path: Path, data: Path, weights_dir: Path, caplog: pytest.LogCaptureFixture, chosen: dict[str, str]
) -> None:
    for name in DAMAGED:
        (data / name).unlink()
        (data / name).symlink_to("/proc/self/mem")  # the kernel's own EIO
    with caplog.at_level(logging.WARNING):
        run(tmp_path, data, weights_dir, chosen)
    left_out = RunFacts.read(tmp_path / "output" / "data").left_out
    assert left_out == dict.fromkeys(DAMAGED, "The file cannot be read (Input/output error)")
    for name in DAMAGED:
        assert sum(message.startswith(f"Left out {name}: ") for message in caplog.messages) == 1, name
    assert not any(message.startswith("Leakage") for message in caplog.messages)


def test_files_that_cannot_be_read_beyond_the_limit_are_a_sentence_that_names_one(
    tmp_path: Path, data: Path, weights_dir: Path
) -> None:
    (data / DAMAGED[0]).unlink()
    (data / DAMAGED[0]).symlink_to("/proc/self/mem")
    wanted = r"1 picture cannot be used, and max_bad_pictures=0: train/amber/001\.png \(The file cannot be read \(Input"
    with pytest.raises(UserError, match=wanted):
        run(tmp_path, data, weights_dir, {**FROZEN, "max_bad_pictures": "0"})


def test_what_is_left_out_is_counted_and_named_in_the_facts_of_the_job(
    tmp_path: Path, data: Path, weights_dir: Path
) -> None:
    for name in DAMAGED:
        (data / name).write_bytes(b"no picture")
    run(tmp_path, data, weights_dir, {**FROZEN, "epochs": "1"})
    facts = RunFacts.read(tmp_path / "output" / "data")
    assert set(facts.left_out) == set(DAMAGED)
    assert "not a picture" in facts.left_out[DAMAGED[0]]
    report = (tmp_path / "output" / "data" / "report.html").read_text(encoding="utf-8")
    assert "4 of them damaged and left out" in report


@pytest.mark.parametrize("chosen", [FROZEN, TUNED], ids=["features", "pictures"])
@pytest.mark.parametrize(("split", "use"), [("train", "5 training"), ("valid", "3 validation")])
def test_a_class_without_a_picture_that_can_be_used_is_an_error_that_names_it(
    tmp_path: Path,
    data: Path,
    weights_dir: Path,
    chosen: dict[str, str],
    split: str,
    use: str,
    folders: Callable[..., Path],
) -> None:
    for folder in ("train", "valid", "test"):
        folders(data / folder, {"coral": 6})
    for path in (data / split / "amber").iterdir():
        path.write_bytes(b"no picture")
    wanted = rf"None of the {use} pictures of class amber can be used: {split}/amber/000\.png \(.*remove the class"
    with pytest.raises(UserError, match=wanted):
        run(tmp_path, data, weights_dir, chosen)


def test_a_class_folder_without_pictures_is_said(
    tmp_path: Path, data: Path, weights_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "train" / "coral").mkdir()
    (data / "train" / "coral" / "notes.txt").write_text("later")
    run(tmp_path, data, weights_dir, {**FROZEN, "epochs": "1"})
    assert "train/coral holds no pictures, so there is no such class." in caplog.messages


def test_a_picture_in_two_splits_is_warned_of_and_counted(
    tmp_path: Path, data: Path, weights_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(data / "train" / "amber" / "000.png", data / "valid" / "amber" / "copy.png")
    for number in (0, 1):
        shutil.copy(data / "valid" / "blue" / f"00{number}.png", data / "test" / "blue" / f"copy-{number}.png")
    run(tmp_path, data, weights_dir, {**FROZEN, "epochs": "1"})
    warnings = [message for message in caplog.messages if message.startswith("Leakage: ")]
    assert [warning.split(",")[0] for warning in warnings] == [
        "Leakage: the very bytes of 1 validation picture(s) are training pictures",
        "Leakage: the very bytes of 2 test picture(s) are validation pictures",
    ]
    facts = RunFacts.read(tmp_path / "output" / "data")
    assert (facts.duplicates, facts.test_in_validation) == ({"validation": 1, "test": 0}, 2)
