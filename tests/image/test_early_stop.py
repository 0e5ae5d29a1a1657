"""A stop in the first moments of `train`, while Python still imports: heard, and the job ends as by a later one."""

import subprocess
import time
from pathlib import Path

import pytest

import doors
from doors import ENGINE, QUICK
from image_classifier import artifact

ENDLESS = {**QUICK, "epochs": "500", "batch_size": "8"}
WITHIN = 20  # seconds from SIGTERM to the end; SageMaker gives 120


def wait_until_started(job: doors.Opened) -> None:
    """The engine's client is there before the container."""
    end = time.monotonic() + 60
    while ENGINE and not runs(job.container):
        assert time.monotonic() < end, job.log
        time.sleep(0.02)


def runs(container: str) -> bool:
    words = [str(ENGINE), "inspect", "--format", "{{.State.Running}}", container]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout == "true\n"


@pytest.mark.parametrize("moment", [0.2, 0.5, 1, 2])
def test_a_stop_is_heard_from_the_first_moment_on(pictures: Path, tmp_path: Path, moment: float) -> None:
    with doors.training(tmp_path, ENDLESS, {"training": pictures}) as job:
        wait_until_started(job)
        time.sleep(moment)
        seconds = job.stop(patience=120)
        code = job.wait()
    assert seconds < WITHIN
    assert "SIGTERM received" in job.log
    assert "Traceback" not in job.log
    if code == 0:  # a step was taken before the signal came
        artifact.load(tmp_path / "model")
        assert list((tmp_path / "checkpoints").glob("checkpoint-*.pt"))
    else:
        assert code == 1, job.log
        reason = (tmp_path / "output/failure").read_text()
        assert reason.startswith("Training was stopped before its first step since this start, so there is no model;")
        assert reason in job.log
        assert not (tmp_path / "model/model.safetensors").exists()
