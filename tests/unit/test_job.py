"""A training job as a whole: channels in, artifact out, resumed with the same weights."""

import csv
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_classifier import artifact, machine, networks
from image_classifier.errors import UserError
from image_classifier.training import engine, entrypoint
from image_classifier.training import job as job_module
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stopped
from jobs import run

SMALL = "shufflenet_v2_x0_5"
FULL = {  # dropout, BatchNorm and random views: everything that must not depend on the interruption
    "architecture": "mobilenet_v3_small",
    "pretrained": "false",
    "freeze_backbone": "false",
    "augmentation": "standard",
}
FEATURES = {"architecture": SMALL, "augmentation": "light"}
TUNED = {  # a probe, two rates, an average of the weights
    "architecture": SMALL,
    "freeze_backbone": "false",
    "probe_epochs": "2",
    "backbone_learning_rate_factor": "0.3",
    "ema_decay": "0.8",
    "schedule": "one_cycle",
    "augmentation": "standard",
}
USES = (
    *("features_seconds", "forward_backward_seconds", "evaluation_seconds", "waiting_seconds", "reading_seconds"),
    *("saving_seconds", "compiling_seconds", "report_seconds", "other_seconds"),
)
COSTS = (*USES, "job_seconds", "decode_seconds", "job_images_per_second", "matrix_peak_share")


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    """Workers of a parallel test run share the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "cores", lambda: 1)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, folders: Callable[..., Path]) -> Path:
    """Ten pictures to train on, in three steps an epoch; four to validate, four to test."""
    root = tmp_path_factory.mktemp("data")
    folders(root / "train", {"amber": 5, "blue": 5})
    folders(root / "valid", {"amber": 2, "blue": 2}, seed=1)
    folders(root / "test", {"amber": 2, "blue": 2}, seed=2)
    return root


def weights_of(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module", params=[FULL, FEATURES, TUNED], ids=["full", "features", "tuned"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path, weights_dir: Path
) -> tuple[dict[str, str], bytes]:
    base = tmp_path_factory.mktemp("undisturbed")
    return request.param, weights_of(run(base, data, weights_dir, request.param))


@pytest.mark.parametrize("number", [3, 4, 5, 6, 8])
def test_a_job_stopped_anywhere_and_resumed_ends_with_the_same_bits(
    tmp_path: Path,
    undisturbed: tuple[dict[str, str], bytes],
    data: Path,
    weights_dir: Path,
    stop_at: Callable[[int], Any],
    number: int,
) -> None:
    chosen, wanted = undisturbed
    # features to train on and to validate; features to probe, and the probe
    before = {"light": 2, "standard": 7}[chosen["augmentation"]] if chosen is not FULL else 0
    stop = stop_at(number + before)
    run(tmp_path, data, weights_dir, chosen, stop)
    assert stop.requested
    artifact.load(tmp_path / "model")  # what an interrupted job leaves can be served
    assert weights_of(run(tmp_path, data, weights_dir, chosen)) == wanted


def test_a_job_run_twice_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: tuple[dict[str, str], bytes], data: Path, weights_dir: Path
) -> None:
    chosen, wanted = undisturbed
    assert weights_of(run(tmp_path, data, weights_dir, {**chosen, "num_workers": "3"})) == wanted


@pytest.mark.parametrize("number", [1, 2, 3])
def test_stopped_before_the_first_step_there_is_no_model(
    tmp_path: Path, data: Path, weights_dir: Path, stop_at: Callable[[int], Any], number: int
) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, data, weights_dir, FEATURES, stop_at(number))
    assert not (tmp_path / "model").exists()


def test_a_restart_stopped_in_its_feature_pass_says_what_is_left_and_the_next_one_goes_on(
    tmp_path: Path,
    data: Path,
    weights_dir: Path,
    stop_at: Callable[[int], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(tmp_path, data, weights_dir, FEATURES)
    shutil.rmtree(tmp_path / "checkpoints" / "features")
    with pytest.raises(Stopped) as caught:
        run(tmp_path, data, weights_dir, FEATURES, stop_at(1))
    assert str(entrypoint.reason_of(caught.value)) == (
        "Training was stopped before its first step since this start, so there is no model; "
        "the next start goes on from the job's last checkpoint, if it has one."
    )
    with caplog.at_level(logging.INFO):
        run(tmp_path, data, weights_dir, FEATURES)
    assert "Resumed at epoch 3, step 0." in caplog.messages


def test_a_frozen_backbone_is_really_unchanged(trained: Path, weights_dir: Path) -> None:
    before = load_file(weights_dir / f"{SMALL}.safetensors")
    after = load_file(trained / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert [name for name in after if not name.startswith("fc.") and not torch.equal(after[name], before[name])] == []
    assert after["fc.weight"].shape == (3, 1024)


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_features_end_where_pictures_with_a_frozen_network_end(
    tmp_path: Path, data: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str
) -> None:
    chosen = {"architecture": "mobilenet_v3_small", "augmentation": augmentation, "optimizer": "sgd"}
    quick = load_file(run(tmp_path / "quick", data, weights_dir, chosen) / "model.safetensors")
    monkeypatch.setattr(job_module.features, "stand_in", lambda _chosen, _network: False)
    slow = load_file(run(tmp_path / "slow", data, weights_dir, chosen) / "model.safetensors")
    assert quick.keys() == slow.keys()
    for name, value in quick.items():
        torch.testing.assert_close(value, slow[name], rtol=1e-4, atol=1e-5)


def test_the_artifact_tells_what_it_is(trained: Path) -> None:
    network, config = artifact.load(trained / "model")
    assert config.architecture == SMALL
    assert config.labels == ("amber", "blue", "dark grey")
    assert config.preprocessing.image_size == 32
    assert config.hyperparameters["batch_size"] == 4
    assert config.metrics.keys() == {
        "epochs",
        "val_loss",
        "val_accuracy",
        "best_epoch",
        "test_loss",
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "test_macro_f1",
        "test_top_5_accuracy",
        "calibration_error",
        "calibration_error_before",
        *COSTS,
    }
    assert 0.05 <= config.temperature <= 20
    assert f"divided by {config.temperature:.4g}" in (trained / "model" / "README.md").read_text(encoding="utf-8")
    assert sum(p.numel() for p in network.parameters()) > 100_000


def test_the_tables_are_written(trained: Path) -> None:
    folder = trained / "output" / "data"
    with (folder / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    with (folder / "confusion.csv").open(encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert table[0] == ["true \\ predicted", "amber", "blue", "dark grey"]
    counts = [[int(cell) for cell in row[1:]] for row in table[1:]]
    assert [sum(row) for row in counts] == [3, 3, 3]
    metrics = json.loads((trained / "model" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test_accuracy"] == pytest.approx(sum(counts[i][i] for i in range(3)) / 9)


def test_the_metrics_of_the_artifact_are_those_of_the_evaluation_and_the_costs_add_up(trained: Path) -> None:
    metrics = json.loads((trained / "model" / "metrics.json").read_text(encoding="utf-8"))
    measured = json.loads((trained / "output" / "data" / "evaluation.json").read_text(encoding="utf-8"))
    assert metrics["test_macro_f1"] == pytest.approx(measured["macro_f1"])
    assert [metrics["test_accuracy_low"], metrics["test_accuracy_high"]] == pytest.approx(measured["interval"])
    assert metrics["test_top_5_accuracy"] == measured["top_3_accuracy"] == 1  # of three classes
    assert sum(metrics[use] for use in USES) == pytest.approx(metrics["job_seconds"])
    for use in ("reading", "saving", "compiling", "report"):
        assert 0 < metrics[f"{use}_seconds"] < metrics["job_seconds"], use
    card = (trained / "model" / "README.md").read_text(encoding="utf-8")
    for words in ("| test_macro_f1 | ", "| job_seconds | ", "- pillow 1", "- openvino 20"):
        assert words in card


def test_a_size_the_network_cannot_take_is_refused(tmp_path: Path, data: Path, weights_dir: Path) -> None:
    chosen = {"architecture": "alexnet", "pretrained": "false", "freeze_backbone": "false"}
    with pytest.raises(UserError, match="architecture=alexnet does not take pictures of image_size=32 ") as caught:
        run(tmp_path, data, weights_dir, chosen)
    assert "\n" not in str(caught.value)
    assert "try image_size=224" in str(caught.value)


def test_a_model_that_was_not_written_right_is_no_success(
    tmp_path: Path, data: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = artifact.save

    def save_another(folder: Path, _network: Any, config: artifact.Config) -> None:
        save(folder, networks.build(config.architecture, len(config.classes)), config)

    monkeypatch.setattr(artifact, "save", save_another)
    with pytest.raises(RuntimeError, match="differs from the trained one"):
        run(tmp_path, data, weights_dir, FEATURES)


def test_other_settings_or_data_do_not_resume_from_the_same_directory(
    tmp_path: Path, data: Path, weights_dir: Path, folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, data, weights_dir, FEATURES)
    capsys.readouterr()
    run(tmp_path, data, weights_dir, {**FEATURES, "seed": "1"})
    assert "epoch=1;" in capsys.readouterr().out
    (tmp_path / "input" / "data" / "training").unlink()
    shutil.copytree(data, tmp_path / "more")
    folders(tmp_path / "more" / "train", {"amber": 6}, seed=4)
    run(tmp_path, tmp_path / "more", weights_dir, FEATURES)
    assert "epoch=1;" in capsys.readouterr().out


@pytest.fixture
def other_weights(tmp_path: Path, weights_dir: Path) -> Path:
    """Weights of the same network that were learnt elsewhere."""
    path = tmp_path / "other weights" / f"{SMALL}.safetensors"
    path.parent.mkdir()
    state = load_file(weights_dir / path.name)
    save_file({name: value * 1.1 if value.is_floating_point() else value for name, value in state.items()}, path)
    return path.parent


@pytest.mark.parametrize("chosen", [FEATURES, TUNED], ids=["features", "tuned"])
def test_a_job_with_other_pretrained_weights_does_not_take_up_the_checkpoint_and_says_so(
    tmp_path: Path,
    data: Path,
    weights_dir: Path,
    other_weights: Path,
    caplog: pytest.LogCaptureFixture,
    chosen: dict[str, str],
) -> None:
    alone = weights_of(run(tmp_path / "alone", data, other_weights, chosen))
    run(tmp_path / "job", data, weights_dir, chosen)
    with caplog.at_level(logging.INFO):
        assert weights_of(run(tmp_path / "job", data, other_weights, chosen)) == alone
    folder = tmp_path / "job" / "checkpoints"
    told = f"No checkpoint of this job: the 2 in {folder} are of other settings, weights or data."
    assert told in caplog.messages


def test_a_job_with_another_validation_split_does_not_take_up_the_checkpoint(
    tmp_path: Path, data: Path, weights_dir: Path, folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    more = shutil.copytree(data, tmp_path / "data")
    run(tmp_path, more, weights_dir, FEATURES)
    folders(more / "valid", {"amber": 3}, seed=4)
    capsys.readouterr()
    run(tmp_path, more, weights_dir, FEATURES)
    assert "epoch=1;" in capsys.readouterr().out


def test_pictures_in_fastfile_mode_are_waited_for_side_by_side_by_more_threads_than_cores(
    tmp_path: Path,
    folders: Callable[..., Path],
    weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for split, count in {"train": 30, "valid": 10}.items():
        folders(tmp_path / "data" / split, {"amber": count, "blue": count}, seed=count)
    config = tmp_path / "input" / "config" / "inputdataconfig.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"training": {"TrainingInputMode": "FastFile"}}), encoding="utf-8")
    waits: list[tuple[float, float]] = []
    read = Path.read_bytes

    def slowly(path: Path) -> bytes:
        if path.suffix == ".png":
            started = time.monotonic()
            time.sleep(0.1)
            waits.append((started, time.monotonic()))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", slowly)
    with caplog.at_level(logging.INFO):
        run(tmp_path, tmp_path / "data", weights_dir, {**FEATURES, "compile": "off", "debug": "off"})
    assert len(waits) >= 2 * 80, "for the features' key, and to decode"
    waited = end = 0.0
    for start, until in sorted(waits):  # what they wait for at the same time counts once
        waited += max(0.0, until - max(start, end))
        end = max(end, until)
    assert waited < 0.25 * sum(until - start for start, until in waits)
    assert any("8 threads decode pictures" in message for message in caplog.messages)


def test_features_that_a_killed_job_had_not_kept_yet_are_those_of_an_undisturbed_one(
    tmp_path: Path, data: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ENOUGH", 10 * 32 * 32)  # pixels: OpenVINO for the pictures to train on, not for four
    run(tmp_path, data, weights_dir, FEATURES)
    kept = {path: path.read_bytes() for path in (tmp_path / "checkpoints" / "features").iterdir()}
    assert len(kept) == 3
    train = max(kept, key=lambda path: len(kept[path]))
    half = train.with_name("of an earlier job.partial")
    half.write_bytes(b"half")
    for path in (*(kept.keys() - {train}), *(tmp_path / "checkpoints").glob("*.pt")):
        path.unlink()
    run(tmp_path, data, weights_dir, FEATURES)
    assert {path: path.read_bytes() for path in kept} == kept
    assert not half.exists()


def test_a_job_takes_its_features_from_an_earlier_job_s_channel(
    tmp_path: Path, data: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = {**FEATURES, "compile": "off"}
    trial = {**chosen, "learning_rate": "0.02", "epochs": "3"}
    alone = weights_of(run(tmp_path / "alone", data, weights_dir, trial))
    run(tmp_path / "first", data, weights_dir, chosen)
    channel = tmp_path / "second" / "input" / "data" / "features"
    channel.parent.mkdir(parents=True)
    channel.symlink_to(tmp_path / "first" / "checkpoints" / "features")
    monkeypatch.setattr(PictureSource, "batches", lambda *_arguments, **_named: pytest.fail("a picture is read again"))
    caplog.clear()
    assert weights_of(run(tmp_path / "second", data, weights_dir, trial)) == alone
    assert sum("kept from an earlier run" in message for message in caplog.messages) == 3  # train, validation, test
