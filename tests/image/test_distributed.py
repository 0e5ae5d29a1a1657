"""`train` on two and three hosts: one network, one resourceconfig.json each."""

import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import doors
import hosts
import updates
from doors import QUICK, needs_engine
from image_classifier import artifact
from image_classifier.training import hyperparameters, pretrained

# One step: after it rounding grows, because the network learns from scratch.
ONE_STEP = {**QUICK, "batch_size": "120", "optimizer": "sgd", "learning_rate": "0.01"}
ENDLESS = {**QUICK, "epochs": "500", "debug": "off"}
SHORT = {**QUICK, "epochs": "4", "debug": "off"}
WITHIN = 60  # seconds from the loss of a host to the end of the others: it must be silent for 20


def weights(base: Path) -> dict[str, torch.Tensor]:
    return load_file(base / "model/model.safetensors")


@pytest.fixture
def lock(shared: Path) -> Path:
    return shared / "hosts.lock"


def test_two_hosts_learn_what_one_learns_and_the_first_one_reports(pictures: Path, tmp_path: Path, lock: Path) -> None:
    with hosts.training(tmp_path, ONE_STEP, [pictures] * 2, lock) as (first, second):
        assert (first.wait(), second.wait()) == (0, 0), first.log + second.log
    alone = doors.train(tmp_path / "alone", ONE_STEP, {"training": pictures})
    assert alone.code == 0, alone.log
    before = pretrained.make_network(hyperparameters.parse(ONE_STEP), 6, None, tmp_path).state_dict()
    updates.assert_same(before, weights(first.base), weights(alone.base), within=0.05)
    assert "epoch=1; train_loss=" in first.log
    assert "test_accuracy=" in first.log
    assert (first.base / "output/data/report.html").exists()
    assert "Distributed: host 2 of 2" in second.log
    assert "_loss=" not in second.log
    assert [path for part in ("model", "output", "checkpoints") for path in (second.base / part).rglob("*.*")] == []


def test_a_killed_host_ends_the_others_which_name_it_and_the_job_resumes_as_if_nothing_had_happened(
    pictures: Path, tmp_path: Path, lock: Path
) -> None:
    with hosts.training(tmp_path / "undisturbed", SHORT, [pictures] * 3, lock) as job:
        assert [host.wait(240) for host in job] == [0, 0, 0], job[0].log
        wanted = weights(job[0].base)
    with hosts.training(tmp_path, SHORT, [pictures] * 3, lock) as (first, second, third):
        first.wait_for("epoch=1;", 240)
        third.kill()
        start = time.monotonic()
        codes = [first.wait(WITHIN), second.wait(WITHIN)]
        assert time.monotonic() - start < WITHIN
        name = "algo-3" if doors.ENGINE else "127.0.0.3"
        assert codes == [3, 3], first.log + second.log
        for host in (first, second):
            assert hosts.failure(host).startswith(f"Host {name} of the job is lost: nothing was heard of it for 20 s")
    with hosts.training(tmp_path, SHORT, [pictures] * 3, lock) as again:
        assert [host.wait(240) for host in again] == [0, 0, 0], again[0].log
    assert "Resumed at epoch " in again[0].log
    assert "epoch=1;" not in again[0].log
    learnt = weights(again[0].base)
    assert [name for name, value in wanted.items() if not torch.equal(learnt[name], value)] == []


def test_a_stop_of_one_host_stops_all_with_a_model_and_a_checkpoint(pictures: Path, tmp_path: Path, lock: Path) -> None:
    with hosts.training(tmp_path, ENDLESS, [pictures] * 2, lock) as (first, second):
        first.wait_for("epoch=1;", 240)
        second.stop(patience=120)
        assert [first.wait(60), second.wait(60)] == [0, 0], first.log + second.log
    _, config = artifact.load(first.base / "model")
    assert 1 <= config.metrics["epochs"] < 500
    assert list((first.base / "checkpoints").glob("checkpoint-*.pt"))
    assert re.search(r"Stopped in epoch \d+ after step \d+; a restart resumes there\.", first.log)
    assert not hosts.failure(first)
    assert not hosts.failure(second)


def test_a_damaged_file_on_one_host_is_the_reason_on_all(pictures: Path, tmp_path: Path, lock: Path) -> None:
    damaged = Path(shutil.copytree(pictures, tmp_path / "damaged"))
    for path in (damaged / "train").rglob("*.png"):
        path.write_bytes(b"x" * path.stat().st_size)
    chosen = {**ENDLESS, "max_bad_pictures": "0"}
    with hosts.training(tmp_path, chosen, [pictures, damaged], lock) as (first, second):
        assert [first.wait(), second.wait()] == [1, 1], first.log + second.log
    name = "algo-2" if doors.ENGINE else "127.0.0.2"
    assert hosts.failure(second).startswith(f"Host {name}: 1 picture cannot be used, and max_bad_pictures=0: train/")
    assert hosts.failure(first) == hosts.failure(second)
    assert "Traceback" not in first.log + second.log


@needs_engine
@pytest.mark.parametrize(
    ("folder", "size", "file"),
    [
        ("/opt/ml/checkpoints", "8m", r"checkpoint-\w+-\d+\.pt"),  # a checkpoint of this job has 130 MB
        ("/opt/ml/model", "64k", r"model\.safetensors"),
    ],
)
def test_a_full_disk_is_the_reason_of_the_failure(
    pictures: Path, tmp_path: Path, folder: str, size: str, file: str
) -> None:
    disk = ("--tmpfs", f"{folder}:size={size},mode=1777")
    done = doors.train(tmp_path, {**QUICK, "debug": "off"}, {"training": pictures}, flags=disk)
    assert done.code == 3, done.log
    assert re.match(rf"The disk is full while writing {folder}/{file}; give the job a larger volume\.", done.failure)


@needs_engine
def test_one_process_needs_no_shared_memory(pictures: Path, tmp_path: Path) -> None:
    done = doors.train(tmp_path, {**QUICK, "num_workers": "8"}, {"training": pictures}, flags=("--shm-size", "64k"))
    assert done.code == 0, done.log
