"""`train` from end to end: what goes in, what is said, what comes out."""

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import doors
import ways
from doors import QUICK, needs_engine
from image_classifier import artifact, images
from image_classifier.training import metrics
from image_classifier.training.costs import Costs

METRICS = ways.ROOT / "container/image_classifier/training/metric_definitions.json"
ARTIFACT = {"model.safetensors", "config.json", "labels.json", "metrics.json", "README.md"}
LABELS = ["Circle", "Cross", "Dots", "Stripes", "Checkerboard", "Ring"]


def found(log: str) -> dict[str, list[float]]:
    """What SageMaker would read from the log with the shipped regular expressions."""
    definitions = json.loads(METRICS.read_text())
    return {each["Name"]: [float(hit) for hit in re.findall(each["Regex"], log)] for each in definitions}


def is_whole(model: Path) -> bool:
    """Whether a model directory holds all of an artifact, and the network in it gives numbers."""
    network, config = artifact.load(model)
    size = config.preprocessing.image_size
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, size, size))
    complete = {path.name for path in model.iterdir()} - {"compiled"} == ARTIFACT  # a job that is stopped makes none
    return complete and logits.shape == (1, len(config.classes)) and bool(logits.isfinite().all())


class TestAJob:
    def test_it_succeeds_and_leaves_a_whole_artifact(self, trained: doors.Finished) -> None:
        assert trained.code == 0
        assert trained.failure == ""
        assert is_whole(trained.model)
        assert json.loads((trained.model / "labels.json").read_text()) == LABELS

    def test_it_has_compiled_variants_and_says_which_are_used(self, trained: doors.Finished) -> None:
        assert artifact.load_config(trained.model).compiled.variants.keys() == {"int8", "fp32"}
        assert "Compiled fp32, used: " in trained.log
        assert "Compiled int8, not used: " in trained.log  # 30 pictures cannot show that it is as good

    def test_it_learns(self, trained: doors.Finished) -> None:
        losses = found(trained.log)["train_loss"]
        assert losses[-1] < losses[0] - 0.5

    def test_every_metric_is_found_by_the_shipped_regular_expressions(self, trained: doors.Finished) -> None:
        counts = {name: len(values) for name, values in found(trained.log).items()}
        of_the_job = {*(name for name in metrics.NAMES if name.startswith("test_")), *Costs().summary(1, 1.0)}
        assert {name for name, count in counts.items() if count == 1} == of_the_job
        assert {count for name, count in counts.items() if name not in of_the_job} == {3}

    def test_the_artifact_records_what_the_log_said(self, trained: doors.Finished) -> None:
        metrics, said = json.loads((trained.model / "metrics.json").read_text()), found(trained.log)
        assert metrics["test_accuracy"] == pytest.approx(said["test_accuracy"][0], abs=1e-5)
        assert metrics["val_accuracy"] == pytest.approx(max(said["val_accuracy"]), abs=1e-5)
        assert said["val_accuracy"][int(metrics["best_epoch"]) - 1] == max(said["val_accuracy"])
        assert metrics["forward_backward_seconds"] == pytest.approx(said["forward_backward_seconds"][0], rel=1e-4)
        assert 0 < metrics["matrix_peak_share"] < 1
        assert 0 < metrics["forward_backward_seconds"] < sum(said["epoch_seconds"])

    def test_history_has_a_row_for_each_epoch(self, trained: doors.Finished) -> None:
        with (trained.base / "output/data/history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [float(row["epoch"]) for row in rows] == [1, 2, 3]
        assert [float(row["train_loss"]) for row in rows] == pytest.approx(found(trained.log)["train_loss"], rel=1e-4)

    def test_the_confusion_matrix_counts_every_test_picture(self, trained: doors.Finished, pictures: Path) -> None:
        with (trained.base / "output/data/confusion.csv").open() as file:
            (_, *labels), *rows = csv.reader(file)
        counts = [[int(count) for count in row[1:]] for row in rows]
        assert labels == [row[0] for row in rows] == LABELS
        assert [sum(row) for row in counts] == [
            len(list(folder.iterdir())) for folder in sorted((pictures / "test").iterdir())
        ]
        right = sum(counts[i][i] for i in range(len(labels)))
        assert right / sum(map(sum, counts)) == pytest.approx(found(trained.log)["test_accuracy"][0], abs=1e-5)

    def test_the_test_accuracy_is_that_of_the_saved_network(self, trained: doors.Finished, pictures: Path) -> None:
        network, config = artifact.load(trained.model)
        files = sorted((pictures / "test").glob("*/*"))
        read = [images.read(path.read_bytes(), config.preprocessing, 10**8) for path in files]
        pixels = torch.stack([images.to_tensor(picture) for picture in read])
        with torch.inference_mode():
            chosen = network(images.normalise(pixels, config.preprocessing)).argmax(1).tolist()
        right = sum(config.classes[index] == path.parent.name for index, path in zip(chosen, files, strict=True))
        assert right / len(files) == pytest.approx(found(trained.log)["test_accuracy"][0], abs=1e-5)


class TestWhatGoesIn:
    def test_values_in_json_and_names_with_hyphens_as_the_sdk_sends_them(self, pictures: Path, tmp_path: Path) -> None:
        values = {
            **{name: value for name, value in QUICK.items() if name not in ("batch_size", "architecture")},
            "architecture": '"mobilenet_v3_small"',
            "batch-size": '"32"',
            "Learning-Rate": "1e-3",
            "optimizer": '"sgd"',
            "pretrained": "False",
            "sagemaker_job_name": '"job-1"',
            "sagemaker_region": '"us-east-1"',
            "_tuning_objective_metric": "val_accuracy",
        }
        done = doors.train(tmp_path, values, {"training": pictures})
        assert done.code == 0, done.log
        for line in (
            "architecture = mobilenet_v3_small",
            "batch_size = 32",
            "learning_rate = 0.001",
            "optimizer = sgd",
        ):
            assert f"  {line}\n" in done.log
        assert artifact.load_config(done.model).architecture == "mobilenet_v3_small"

    def test_three_channels(self, pictures: Path, tmp_path: Path) -> None:
        channels = {"train": pictures / "train", "validation": pictures / "valid", "test": pictures / "test"}
        done = doors.train(tmp_path, QUICK, channels)
        assert done.code == 0, done.log
        assert "6 classes; 120 pictures to train on, 30 to validate, 30 to test." in done.log
        assert found(done.log)["test_accuracy"]

    def test_a_missing_validation_split_is_made_and_announced(self, pictures: Path, tmp_path: Path) -> None:
        done = doors.train(tmp_path, {**QUICK, "validation_fraction": "0.2"}, {"train": pictures / "train"})
        assert done.code == 0, done.log
        assert "There is no validation split: 24 of 120 training pictures are held out" in done.log
        assert "96 pictures to train on, 24 to validate, 0 to test." in done.log
        assert found(done.log)["val_accuracy"]
        assert not found(done.log)["test_accuracy"]
        assert not (tmp_path / "output/data/confusion.csv").exists()

    def test_pictures_of_every_kind_are_read(self, pictures: Path, tmp_path: Path) -> None:
        kinds = tmp_path / "pictures"
        for number, path in enumerate(sorted((pictures / "train").glob("00[12]*/00[1-8].png"))):
            mode, suffix = (("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "gif"), ("I;16", "png"))[number % 5]
            place = kinds / "train" / path.parent.name / f"{number}.{suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as picture:
                (picture.convert("L") if mode == "I;16" else picture).convert(mode).save(place)
        done = doors.train(tmp_path / "base", QUICK, {"training": kinds})
        assert done.code == 0, done.log
        assert "2 classes; 14 pictures to train on, 2 to validate" in done.log


@pytest.fixture
def open_to_all(tmp_path: Path) -> Iterator[Path]:
    """A folder in which everything that is made can be written by anybody."""
    tmp_path.chmod(0o777)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


@needs_engine
class TestWhereItRuns:
    def test_without_a_network_as_nobody_with_a_read_only_root(self, pictures: Path, open_to_all: Path) -> None:
        flags = (*doors.NO_NETWORK, *doors.NOBODY, *doors.READ_ONLY)
        done = doors.train(open_to_all, {**QUICK, "compile": "auto"}, {"training": pictures}, flags=flags)
        assert done.code == 0, done.log
        assert is_whole(done.model)
        assert (done.model / "compiled" / "fp32.xml").is_file(), done.log

    def test_started_as_sdk_v3_does(self, pictures: Path, tmp_path: Path) -> None:
        flags = ("--entrypoint", "/bin/bash")
        done = doors.train(tmp_path, QUICK, {"training": pictures}, flags=flags, words=("-c", "train"))
        assert done.code == 0, done.log
        assert is_whole(done.model)

    def test_started_without_a_command(self, pictures: Path, tmp_path: Path) -> None:
        done = doors.train(tmp_path, QUICK, {"training": pictures}, words=())
        assert done.code == 0, done.log
        assert is_whole(done.model)
