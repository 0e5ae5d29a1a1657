"""A spot instance may vanish at any moment: whatever that moment is, the job ends as if nothing had happened."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SEED = 20
COMMON = {
    "architecture": "shufflenet_v2_x0_5",
    "batch_size": "6",
    "image_size": "32",
    "compile": "off",
    "debug": "off",
    "seed": "7",
}
FULL = {
    "pretrained": "false",
    "freeze_backbone": "false",
    "augmentation": "standard",
    "schedule": "one_cycle",
    "epochs": "2",
}
# Features and a head; a probe, random views, one cycle and a moving average: what users run.
JOBS = {"full": FULL, "features": {"recipe": "quick", "epochs": "8"}, "tuned": {"recipe": "balanced", "epochs": "2"}}
DEATHS = {"full": 7, "features": 6, "tuned": 7}
# Runs what the `train` command runs, in a child that starts at once because its parent has imported everything.
# Each line it reads asks for one life: seconds until SIGKILL, or `inf`. It answers with the exit status.
LIVES = """
import os, signal, sys, threading, traceback
import torch._dynamo  # a first optimizer would import it, each time
from image_classifier.training import entrypoint, job

entrypoint.child.run = lambda work, stop: work()  # in this one: nothing of it may live on while the next one begins

def live():
    code = 1
    try:
        log = os.open("train.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        entrypoint.main()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)

sys.stdout.reconfigure(line_buffering=True)
print("ready")
for line in sys.stdin:
    child, seconds = os.fork(), float(line)
    if child == 0:
        live()
    killer = threading.Timer(min(seconds, 600), os.kill, (child, signal.SIGKILL))
    killer.start()
    _, status = os.waitpid(child, 0)
    killer.cancel()
    print(os.waitstatus_to_exitcode(status))
"""


class Job:
    """A job that lives again and again."""

    def __init__(self, base: Path, weights: Path) -> None:
        self.base = base
        own = {"SAGEMAKER_BASE_DIR": str(base), "CLASSIFIER_WEIGHTS_DIR": str(weights), "OMP_NUM_THREADS": "1"}
        environ = {**os.environ, **own}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", LIVES], cwd=base, env=environ, **pipes)  # type: ignore[call-overload]
        assert self.process.stdout.readline() == "ready\n"

    def live(self, seconds: float = float("inf")) -> int:
        """One life; its exit code, negative for a signal."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    @property
    def weights(self) -> str:
        return hashlib.sha256((self.base / "model" / "model.safetensors").read_bytes()).hexdigest()

    @property
    def log(self) -> str:
        return (self.base / "train.log").read_text(encoding="utf-8")

    def forget(self) -> None:
        """Begin anew: what a finished job left goes away."""
        for name in ("checkpoints", "model"):
            shutil.rmtree(self.base / name, ignore_errors=True)

    def end(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(params=JOBS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def job(name: str, tmp_path: Path, folders: Callable[..., Path], weights_dir: Path) -> Iterator[Job]:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({**COMMON, **JOBS[name]}), encoding="utf-8")
    (config / "resourceconfig.json").write_text('{"current_host": "localhost", "hosts": ["localhost"]}')
    (config / "inputdataconfig.json").write_text('{"train": {"TrainingInputMode": "File"}}')
    folders(tmp_path / "input" / "data" / "train", {"amber": 9, "blue": 9})
    folders(tmp_path / "input" / "data" / "valid", {"amber": 2, "blue": 2}, seed=1)
    made = Job(tmp_path, weights_dir)
    yield made
    made.end()


def test_killed_at_random_moments_it_ends_with_the_weights_of_an_undisturbed_run(job: Job, name: str) -> None:
    started = time.monotonic()
    assert job.live() == 0, job.log
    whole, wanted = time.monotonic() - started, job.weights
    job.forget()
    draw, deaths = random.Random(SEED), 0
    while deaths < DEATHS[name] or job.log.count("Resumed at epoch") <= DEATHS[name] // 4:
        code = job.live(draw.uniform(0, whole))
        assert code in (0, -signal.SIGKILL), job.log
        if code == 0:
            assert job.weights == wanted, job.log
            job.forget()
        deaths += code != 0
        assert deaths < 5 * DEATHS[name], "hardly a moment is after the first checkpoint"
    assert job.live() == 0, job.log
    assert job.weights == wanted, job.log
