"""The benchmark of training: the seeds' recipes really train, and its tables say what was measured."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from image_classifier.training import pretrained

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.mark.parametrize("recipe", ["A", "B"])
def test_a_seed_s_recipe_trains_only_its_last_layer_and_tells_what_the_benchmark_reads(
    tmp_path: Path, folders: Callable[..., Path], recipe: str
) -> None:
    for seed, split in enumerate(("train", "valid", "test")):
        folders(tmp_path / split, {"amber": 4, "blue": 4}, seed=seed)
    command = [
        sys.executable,
        BENCHMARKS / "seed_recipes.py",
        recipe,
        "--data",
        tmp_path,
        "--model",
        tmp_path / "model",
    ]
    options = ["--architecture", "shufflenet_v2_x0_5", "--epochs", "1", "--every", "2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = dict(re.findall(r"\b(\w+)=([0-9.]+);", done.stdout))
    assert said.keys() == {
        "test_accuracy",
        "epochs_seconds",
        "epochs_cpu_seconds",
        "test_seconds",
        "test_cpu_seconds",
    }
    assert 0 <= float(said["test_accuracy"]) <= 1
    state = torch.load(tmp_path / "model" / "model.pth", weights_only=True)
    assert state["fc.weight"].shape == (2, 1024)
    assert state["conv1.1.num_batches_tracked"] > 0  # the frozen backbone's statistics drift, as the seeds' do


def test_weights_that_it_makes_are_found_by_train(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = load("training")
    monkeypatch.setattr(training.ways, "OUT", tmp_path / "out")
    monkeypatch.setattr(training, "NAMES", tmp_path / "not there")
    made = training.Data.prepared(training.DOGS, "shufflenet_v2_x0_5")
    assert pretrained._weights_file(made.weights.parent, made.architecture) == made.weights


def test_a_part_is_worked_out_to_all_epochs_on_all_pictures(load: Callable[[str], ModuleType]) -> None:
    report = load("training_report")
    run = report.Run("seed A", 0, seconds=100.0, cpu_seconds=150.0, accuracy=0.1, peak=1)
    said = {"epochs_seconds": 20.0, "epochs_cpu_seconds": 30.0, "test_seconds": 5.0, "test_cpu_seconds": 6.0}
    whole = report.whole(run, 8, said)
    assert (whole.seconds, whole.cpu_seconds, whole.part) == (100 + 79 * 20 + 7 * 5, 150 + 79 * 30 + 7 * 6, 8)


def test_the_tables_say_speed_accuracy_and_the_error_of_the_difference(load: Callable[[str], ModuleType]) -> None:
    report = load("training_report")
    seeds = [report.Run("seed A", n, 2000.0 + n, 4000.0, 0.70 + n / 100, 2**20, load=0.1) for n in range(3)]
    ours = [report.Run("product, as A", n, 100.0, 100.0, 0.72 + n / 100, 2**20) for n in range(3)]
    text = report.report([*seeds, *ours, report.Run("quick", 0, 150.0, 200.0, 0.74, 2**20)])
    assert "| seed A | 3 | 2001 (2000 to 2002) | 4000 | 13 | 71.00 % ± 1.00 | 1 MiB | 0.1 |" in text
    assert "| quick | 1 | 150 (150 to 150) | 200 | 515 | 74.00 % |" in text
    assert "- Recipe A: 20.0 times as fast, 40.0 times less CPU, ratio of medians over 3 and 3 runs." in text
    error = (1 / 3 + 1 / 3) ** 0.5
    assert f"- product, as A less seed A, test accuracy: +2.00 ± {error:.2f} points (standard error" in text
    assert "its BatchNorm uses each batch's statistics" in text.replace("\n", " ").replace("that its", "its")
    assert "Speed" not in text


def test_jobs_that_make_no_more_than_the_seeds_have_a_ratio_of_their_own(load: Callable[[str], ModuleType]) -> None:
    report, training = load("training_report"), load("training")
    times = {"seed A": 1000.0, "product, as A": 25.0, report.BARE["A"]: 20.0}
    text = report.report([report.Run(name, 0, seconds, seconds, 0.7, 1) for name, seconds in times.items()])
    assert "- Recipe A: 40.0 times as fast, 40.0 times less CPU" in text
    assert "- Recipe A without variants: 50.0 times as fast, 50.0 times less CPU" in text
    whole, bare = (training.PRODUCT[name] for name in (report.PAIRS["A"][1], report.BARE["A"]))
    assert bare == {**whole, "compile": "off"}


def test_a_time_counts_for_its_own_machine_and_only_where_no_other_work_ran(
    load: Callable[[str], ModuleType],
) -> None:
    report = load("training_report")
    seed, ours = (report.Run(name, 0, 1000.0, 1.0, 0.7, 1) for name in ("seed A", "product, as A"))
    slow, disturbed = replace(ours, seconds=100.0, machine="slow"), replace(ours, seconds=500.0, load=0.6, seed=1)
    text = report.report([seed, replace(ours, seconds=20.0), disturbed, replace(seed, machine="slow"), slow])
    first, second = text.split("## On slow")
    assert "| product, as A | 2 | 20 (20 to 20) |" in first
    assert "- Recipe A: 50.0 times as fast" in first
    assert "- Recipe A: 10.0 times as fast" in second


def test_the_tables_are_those_of_the_runs_that_were_kept(load: Callable[[str], ModuleType]) -> None:
    report = load("training_report")
    assert (BENCHMARKS / "training.md").read_text(encoding="utf-8") == report.report(report.kept())


def test_a_job_that_had_to_wait_for_other_work_counts_for_its_accuracy_and_not_for_its_time(
    load: Callable[[str], ModuleType],
) -> None:
    report = load("training_report")
    waited = [report.Run("seed A", n, 9000.0, 4100.0, 0.70 + n / 100, 2**20, idle=True) for n in range(3)]
    timed = [report.Run("seed A", 0, 2000.0, 4000.0, 0.70, 2**20), report.Run("product, as A", 0, 100.0, 100.0, 0.7, 1)]
    text = report.report([*waited, *timed])
    assert "| seed A | 3 | 2000 (2000 to 2000) | 4100 | 13 | 71.00 % ± 1.00 |" in text
    assert "- Recipe A: 20.0 times as fast," in text
    assert "| seed A | 3 | not measured | 4100 | not measured | 71.00 % ± 1.00 |" in report.report(waited)


def test_of_made_up_pictures_the_tables_tell_speed_and_no_accuracy(load: Callable[[str], ModuleType]) -> None:
    report = load("training_report")
    dogs = {"data": "dogs", "architecture": "resnet50"}
    runs = [report.Run(name, 0, 668.0, 1000.0, 0.01, 2**20, **dogs) for name in ("seed B", "product, as B")]
    speed = report.report(runs).split("Speed on the dog set's shape, resnet50:")[1]
    assert "| seed B | 1 | 668 (668 to 668) | 1000 | 100 | means nothing | 1 MiB | - |" in speed
    assert "test accuracy:" not in speed


def test_made_up_dogs_have_the_names_the_size_and_no_two_the_same_bytes(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    paths = [
        f"{split}/00{n % 2}.Breed/Breed_{n}.jpg" for n, split in enumerate(("train", "train", "valid", "test", "test"))
    ]
    names.write_text("".join(f"dogImages/{path}\n" for path in paths))
    pictures = tmp_path / "pictures"
    assert load("dog_pictures").write(names, pictures, bodies=2) == {"test": 2, "train": 2, "valid": 1}
    assert sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.jpg")) == sorted(paths)
    assert len({(pictures / path).read_bytes() for path in paths}) == len(paths)
    for path in paths:
        with Image.open(pictures / path) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (500, 375))
