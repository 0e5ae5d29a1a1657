"""Features that an earlier job kept, as a channel of the desk's jobs and trials."""

from typing import Any

import pytest
from desk_commands import Quick, after
from started import BUCKET

PROJECT = "featured"
CHOSEN = {"project": PROJECT, "trials": "1", "objective": "val_loss"}


@pytest.fixture(scope="module")
def desk(desk: Quick) -> Quick:
    desk.api.put_picture(PROJECT)
    return desk


def place_of(job: Any) -> str:
    """Where a job's channel of features is."""
    places = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in job["InputDataConfig"]}
    return str(places["features"])


def test_trials_start_from_the_features_of_a_job_that_is_named_or_of_a_place(desk: Quick) -> None:
    kept = desk.api.put(f"{PROJECT}/checkpoints/first/features/resnet18-0.safetensors", b"features")
    folder = kept.rpartition("/")[0]
    for features in ("first", folder, folder + "/"):
        said = desk.run("tune", settings={**CHOSEN, "features": features})
        trial = after(said, "best:").partition(";")[0]
        job = desk.api.sagemaker.describe_training_job(TrainingJobName=trial)
        assert place_of(job).rstrip("/") == folder


@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_job_is_not_begun_where_no_features_are(desk: Quick, command: str) -> None:
    before = desk.api.sagemaker.list_training_jobs()["TrainingJobSummaries"]
    said = desk.run(command, code=2, settings={**CHOSEN, "features": "lost"})
    assert f"features=lost: nothing is kept at s3://{BUCKET}/{PROJECT}/checkpoints/lost/features" in said
    assert len(said.splitlines()) == 1
    assert desk.api.sagemaker.list_training_jobs()["TrainingJobSummaries"] == before
