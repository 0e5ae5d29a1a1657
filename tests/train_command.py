"""The real `train` command in a base directory of its own, started as the toolkit starts it."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "container" / "bin" / "train"
MODULE = "image_classifier.training.entrypoint:main"
RUN = "from sagemaker_training.cli.train import main; main()"
Python = Callable[..., "subprocess.CompletedProcess[str]"]


def configure(base: Path, **hyperparameters: str) -> None:
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters), encoding="utf-8")
    (base / "input/config/resourceconfig.json").write_text('{"current_host": "localhost", "hosts": ["localhost"]}')
    channels = {path.name: {"TrainingInputMode": "File"} for path in (base / "input" / "data").iterdir()}
    (base / "input/config/inputdataconfig.json").write_text(json.dumps(channels), encoding="utf-8")


def train(base: Path, python: Python, **environ: str) -> "subprocess.CompletedProcess[str]":
    return python("-c", RUN, cwd=base, SAGEMAKER_BASE_DIR=str(base), SAGEMAKER_TRAINING_MODULE=MODULE, **environ)


def failure(base: Path) -> str:
    text = (base / "output" / "failure").read_text(encoding="utf-8")
    assert len(text) <= 1024
    return text


def start(base: Path, before: str = "") -> "subprocess.Popen[str]":
    """The command in the background."""
    environ = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_TRAINING_MODULE": MODULE}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", f"{before}{RUN}"],
        cwd=base,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_as_installed(base: Path) -> "subprocess.Popen[str]":
    """The command's own file beside a Python, as in the image's folder of programs."""
    folder = base / "bin"
    folder.mkdir()
    shutil.copy(TRAIN, folder)
    (folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (folder / "python").chmod(0o755)
    environ = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_TRAINING_MODULE": MODULE}
    command = [str(folder / "train")]
    return subprocess.Popen(command, cwd=base, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def submit(base: Path, script: str) -> None:
    """A user's own program, as the SDK hands it over."""
    (base / "train_it.py").write_text(script, encoding="utf-8")
    with tarfile.open(base / "source.tar.gz", "w:gz") as archive:
        archive.add(base / "train_it.py", "train_it.py")
    configure(
        base,
        sagemaker_program='"train_it.py"',
        sagemaker_submit_directory=json.dumps(str(base / "source.tar.gz")),
        depth="3",
    )
