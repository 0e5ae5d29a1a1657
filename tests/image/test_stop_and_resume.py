"""A job that is stopped, or that loses its host, goes on where it was and ends as if nothing had happened."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

import doors
from doors import QUICK
from image_classifier import artifact

# Small steps, random views and a moving learning rate: much that a resumed job could get wrong.
JOB = {**QUICK, "epochs": "3", "batch_size": "8", "augmentation": "standard", "schedule": "one_cycle", "seed": "7"}
ENDLESS = {**QUICK, "epochs": "500", "batch_size": "8"}
WITHIN = 15  # seconds from SIGTERM to the end; SageMaker gives 120


def digest(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def checkpoints(base: Path) -> list[Path]:
    return sorted((base / "checkpoints").glob("checkpoint-*.pt"))


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> doors.Finished:
    """The job when nothing happens to it."""
    done = doors.train(tmp_path_factory.mktemp("undisturbed"), JOB, {"training": pictures})
    assert done.code == 0, done.log
    return done


@pytest.fixture
def afterwards(undisturbed: doors.Finished, tmp_path: Path) -> Path:
    """A copy of the finished job's base directory, links and all."""
    return Path(shutil.copytree(undisturbed.base, tmp_path / "base", symlinks=True))


def resume(base: Path, pictures: Path) -> doors.Finished:
    """The same job again, in the same base directory."""
    done = doors.train(base, JOB, {"training": pictures})
    assert done.code == 0, done.log
    assert re.search(r"^Resumed at epoch [23], step \d+\.$", done.log, re.MULTILINE), done.log
    return done


def test_a_stop_in_the_middle_ends_well_within_seconds(pictures: Path, tmp_path: Path) -> None:
    with doors.training(tmp_path, ENDLESS, {"training": pictures}) as job:
        job.wait_for("epoch=2;")
        seconds = job.stop(patience=120)
        assert job.wait() == 0, job.log
    assert seconds < WITHIN
    _, config = artifact.load(tmp_path / "model")
    assert 2 <= config.metrics["epochs"] < 500
    assert "SIGTERM received" in job.log
    assert checkpoints(tmp_path)
    assert not (tmp_path / "output/failure").exists()


def test_a_stop_before_there_is_a_model_is_no_success(pictures: Path, tmp_path: Path) -> None:
    with doors.training(tmp_path, ENDLESS, {"training": pictures}) as job:
        job.wait_for("  seed = ")
        job.stop(patience=120)
        code = job.wait()
    if code == 0:  # the first step was taken before the signal came: then its model is there
        artifact.load(tmp_path / "model")
    else:
        reason = (tmp_path / "output/failure").read_text()
        assert reason.startswith("Training was stopped before its first step")
        assert not (tmp_path / "model/model.safetensors").exists()


def test_after_sigkill_it_resumes_and_ends_with_the_same_weights(
    pictures: Path, tmp_path: Path, undisturbed: doors.Finished
) -> None:
    with doors.training(tmp_path, JOB, {"training": pictures}) as job:
        job.wait_for("epoch=2;")
        job.kill()
        assert job.wait() == 137
    assert not (tmp_path / "model/model.safetensors").exists()
    assert digest(resume(tmp_path, pictures).model) == digest(undisturbed.model)


def test_after_sigterm_it_resumes_and_ends_with_the_same_weights(
    pictures: Path, tmp_path: Path, undisturbed: doors.Finished
) -> None:
    with doors.training(tmp_path, JOB, {"training": pictures}) as job:
        job.wait_for("epoch=1;")
        job.stop(patience=120)
        assert job.wait() == 0, job.log
    assert digest(tmp_path / "model") != digest(undisturbed.model)
    assert digest(resume(tmp_path, pictures).model) == digest(undisturbed.model)
    assert not list((tmp_path / "checkpoints").glob("*.partial"))


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    pictures: Path, afterwards: Path, undisturbed: doors.Finished
) -> None:
    newest = checkpoints(afterwards)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    done = resume(afterwards, pictures)
    assert f"Checkpoint {newest.name} is damaged" in done.log
    assert digest(done.model) == digest(undisturbed.model)


def test_a_finished_job_that_is_started_again_keeps_its_weights(
    pictures: Path, afterwards: Path, undisturbed: doors.Finished
) -> None:
    again = doors.train(afterwards, JOB, {"training": pictures})
    assert again.code == 0, again.log
    assert "epoch=3;" not in again.log
    assert digest(again.model) == digest(undisturbed.model)


def test_another_job_in_the_same_directory_starts_anew(pictures: Path, afterwards: Path) -> None:
    other = doors.train(afterwards, QUICK, {"training": pictures})
    assert other.code == 0, other.log
    assert "No checkpoint of this job" in other.log
    assert "epoch=1;" in other.log
