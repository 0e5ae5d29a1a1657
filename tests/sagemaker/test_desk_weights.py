"""Pretrained weights by the desk's commands: where they come from, and what is said when a job would find none."""

import json
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from desk_commands import Quick, after
from started import BUCKET

from workflow.settings import Settings
from workflow.weights import pretrained

PROJECT = "weighed"
WANTED = {"project": PROJECT, "hyperparameters.pretrained": "true"}


@pytest.fixture(scope="module")
def desk(desk: Quick) -> Quick:
    desk.api.put_picture(PROJECT)
    return desk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "resnet18-f37072fd.pth"
    made.write_bytes(b"weights")
    return made


def channels(job: Any) -> dict[str, str]:
    """Names of a job's channels, and their places."""
    return {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in job["InputDataConfig"]}


def seen(desk: Quick, job: Any, folder: Path) -> list[str]:
    """The files that the job has found."""
    key = urlsplit(job["ModelArtifacts"]["S3ModelArtifacts"]).path.lstrip("/")
    desk.api.s3.download_file(BUCKET, key, str(folder / "model.tar.gz"))
    with tarfile.open(folder / "model.tar.gz") as tar:
        stream = tar.extractfile("seen.json")
        assert stream
        return list(json.loads(stream.read())["data"])


def test_a_file_of_weights_is_sent_once_and_is_a_channel_of_jobs_and_trials(
    desk: Quick, file: Path, tmp_path: Path
) -> None:
    said = desk.run("train", settings={**WANTED, "weights": str(file)})
    job = desk.api.sagemaker.describe_training_job(TrainingJobName=after(said, "job:"))
    assert seen(desk, job, tmp_path) == [f"pretrained/{file.name}", "training/train/ant/1.jpg"]
    assert after(said, "weights:") == channels(job)["pretrained"] + file.name
    said = desk.run("tune", settings={**WANTED, "weights": str(file), "trials": "1", "objective": "val_loss"})
    assert "weights:" not in said
    trial = after(said, "best:").partition(";")[0]
    assert channels(desk.api.sagemaker.describe_training_job(TrainingJobName=trial)) == channels(job)
    file.write_bytes(b"others of the same name")
    assert "weights:" in desk.run("train", "--no-wait", settings={**WANTED, "weights": str(file)})


def test_weights_in_s3_are_taken_from_there(desk: Quick, tmp_path: Path) -> None:
    place = desk.api.put("elsewhere/resnet18.safetensors", b"weights")
    said = desk.run("train", settings={**WANTED, "weights": place})
    job = desk.api.sagemaker.describe_training_job(TrainingJobName=after(said, "job:"))
    assert channels(job)["pretrained"] == place
    assert "pretrained/resnet18.safetensors" in seen(desk, job, tmp_path)


@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_job_that_would_find_no_weights_is_not_begun(desk: Quick, command: str, file: Path) -> None:
    before = desk.api.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    said = desk.run(command, code=2, settings=WANTED)
    for way in ("weights=FILE", "weights=s3://", "weights=image", "network_isolation=false", "pretrained=false"):
        assert way in said
    assert len(said.splitlines()) == 1
    assert "is not there" in desk.run(command, code=2, settings={**WANTED, "weights": f"{file}.lost"})
    notes = file.with_suffix(".txt")
    notes.touch()
    assert "is no file of weights" in desk.run(command, code=2, settings={**WANTED, "weights": str(notes)})
    assert desk.api.sagemaker.list_training_jobs()["TrainingJobSummaries"] == before


@pytest.mark.parametrize(
    "more",
    [
        {"weights": "image"},
        {"network_isolation": False},
        {"hyperparameters": {"pretrained": False}, "weights": "lost.pth"},
        {"hyperparameters": {"use-pretrained-model": "0"}},
    ],
)
def test_a_job_that_needs_no_weights_or_finds_them_itself_gets_no_channel(more: dict[str, Any]) -> None:
    assert pretrained(Settings(bucket=BUCKET, **more)) == {}
