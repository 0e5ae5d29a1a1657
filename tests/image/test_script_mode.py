"""Script mode: a user's own training program runs through the same `train`."""

import json
import tarfile
from pathlib import Path

import doors

REPORT = """
import argparse, json, os, pathlib
import helper
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--learning-rate", type=float)
parser.add_argument("--name")
chosen = vars(parser.parse_args())
settings = {name: value for name, value in os.environ.items() if name.startswith("SM_")}
report = {"chosen": chosen, "settings": settings, "helper": helper.WORD}
pathlib.Path(os.environ["SM_MODEL_DIR"], "report.json").write_text(json.dumps(report))
print("the user's own program ran")
"""
WAITS_FOR_SIGTERM = """
import os, pathlib, signal, sys, time
def leave(number, frame):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "saved").write_text("by the handler")
    print("handler ran", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("program is up", flush=True)
time.sleep(120)
"""
FAILS = """
def deeper():
    raise ValueError("the third column is missing")
deeper()
"""


def source(base: Path, **files: str) -> Path:
    """A source_dir as the SDK uploads it; it lies in the base directory, where `train` can see it."""
    folder = base / "source"
    folder.mkdir()
    with tarfile.open(base / "sourcedir.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
            archive.add(folder / f"{name}.py", arcname=f"{name}.py")
    return base / "sourcedir.tar.gz"


def hyperparameters(program: str, archive: Path, **more: str) -> dict[str, str]:
    """What the SDK sends for entry_point and source_dir: all values in JSON."""
    inside = f"/opt/ml/{archive.name}" if doors.ENGINE else str(archive)
    return {
        "sagemaker_program": json.dumps(program),
        "sagemaker_submit_directory": json.dumps(inside),
        "sagemaker_container_log_level": "20",
        "sagemaker_job_name": '"job-1"',
        "sagemaker_region": '"us-east-1"',
        **more,
    }


def test_the_program_gets_its_arguments_modules_and_environment(pictures: Path, tmp_path: Path) -> None:
    archive = source(tmp_path, main=REPORT, helper="WORD = 'beside it'")
    values = hyperparameters("main.py", archive, epochs="3", **{"learning-rate": "0.01", "name": '"a b"'})
    done = doors.train(tmp_path, values, {"training": pictures, "extra": pictures / "test"})
    assert done.code == 0, done.log
    assert "the user's own program ran" in done.log
    assert "epoch=1;" not in done.log
    report = json.loads((done.model / "report.json").read_text())
    assert report["chosen"] == {"epochs": 3, "learning_rate": 0.01, "name": "a b"}
    assert report["helper"] == "beside it"
    settings, inside = report["settings"], "/opt/ml" if doors.ENGINE else str(tmp_path)
    assert settings["SM_MODEL_DIR"] == f"{inside}/model"
    assert settings["SM_CHANNEL_TRAINING"] == f"{inside}/input/data/training"
    assert json.loads(settings["SM_CHANNELS"]) == ["extra", "training"]
    assert settings["SM_OUTPUT_DATA_DIR"] == f"{inside}/output/data"
    assert json.loads(settings["SM_HPS"])["epochs"] == 3
    assert settings["SM_HP_EPOCHS"] == "3"
    assert settings["SM_NUM_GPUS"] == "0"


def test_sigterm_reaches_the_programs_own_handler(pictures: Path, tmp_path: Path) -> None:
    archive = source(tmp_path, main=WAITS_FOR_SIGTERM)
    with doors.training(tmp_path, hyperparameters("main.py", archive), {"training": pictures}) as job:
        job.wait_for("program is up")
        seconds = job.stop(patience=60)
        assert job.wait() == 0, job.log
    assert seconds < 15
    assert "handler ran" in job.log
    assert (tmp_path / "model/saved").read_text() == "by the handler"


def test_a_failing_programs_last_line_comes_first(pictures: Path, tmp_path: Path) -> None:
    archive = source(tmp_path, main=FAILS)
    done = doors.train(tmp_path, hyperparameters("main.py", archive), {"training": pictures})
    assert done.code == 1, done.log
    first = done.failure.splitlines()[0]
    assert first == "main.py failed with exit code 1: ValueError: the third column is missing"
    assert len(done.failure) <= 1024
    assert "in deeper" in done.log


def test_a_program_that_is_not_there_is_named(pictures: Path, tmp_path: Path) -> None:
    archive = source(tmp_path, main=REPORT)
    done = doors.train(tmp_path, hyperparameters("absent.py", archive), {"training": pictures})
    assert done.code != 0, done.log
    assert "absent.py" in done.failure.splitlines()[0]
