"""A job that the kernel ends: `train` is left, and says why."""

import signal
from pathlib import Path

import pytest

import doors
from doors import QUICK, needs_engine


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "SIGKILL; it may have run out of memory"), (signal.SIGSEGV, "SIGSEGV; a native library crashed")],
)
def test_a_job_that_is_killed_in_its_midst_is_explained(
    pictures: Path, tmp_path: Path, number: signal.Signals, words: str
) -> None:
    with doors.training(tmp_path, {**QUICK, "epochs": "500", "debug": "off"}, {"training": pictures}) as job:
        job.wait_for("epoch=1;")
        largest = max(job.processes(), key=lambda process: process.memory)
        job.kill_process(largest.pid, number)
        assert job.wait() == 3, job.log
    assert (tmp_path / "output" / "failure").read_text().startswith(f"The job was ended by {words}")


@needs_engine
def test_a_job_that_takes_more_memory_than_there_is_says_so(pictures: Path, tmp_path: Path) -> None:
    greedy = {**QUICK, "image_size": "1024", "batch_size": "120", "debug": "off"}
    flags = ("--memory", "1200m", "--memory-swap", "1200m")
    done = doors.train(tmp_path, greedy, {"training": pictures}, flags=flags)
    assert done.code == 3, done.log
    assert done.failure.startswith("The job was ended by SIGKILL; it may have run out of memory."), done.failure
