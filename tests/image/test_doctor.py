"""The command `doctor`, as a user runs it before SageMaker does: in the image, or from .venv."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import doors
import nvml
import ways
from doors import NO_NETWORK, NOBODY, READ_ONLY, needs_engine


def ask(
    words: Sequence[str], model: Path | None = None, flags: Sequence[str] = (), **environ: str
) -> "subprocess.CompletedProcess[str]":
    """`doctor` with these words, on a read-only host without a network where there is an engine."""
    command = doors.WAY.doctor(model)
    at = command.argv.index("doctor") if doors.ENGINE else 0
    command = replace(command, argv=(*command.argv[: at + 1], *words))
    if doors.ENGINE:
        pairs = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
        command = replace(command, argv=(*command.argv[: at - 1], *flags, *pairs, *command.argv[at - 1 :]))
    environment = {**os.environ, **command.environment, **environ}
    return subprocess.run(command.argv, env=environment, capture_output=True, text=True, check=False, timeout=200)


def told(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(done.stdout)["parts"]
    return parts


@pytest.fixture(scope="module")
def broken(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken") / "model"
    shutil.copytree(trained.model, folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    for path in (folder.parent, folder, *folder.iterdir()):
        path.chmod(path.stat().st_mode | 0o055)
    return folder


def test_a_good_model_in_a_good_image_is_said_to_be_good(trained: doors.Finished) -> None:
    done = ask(["--json"], trained.model, NOBODY if doors.ENGINE else ())
    assert done.returncode == 0, done.stdout + done.stderr
    parts = told(done)
    assert list(parts) == ["host", "image", "model"]
    assert {finding["status"] for part in ("image", "model") for finding in parts[part]} == {"ok"}, parts
    assert parts["model"][-1]["what"].startswith("a generated picture was answered in ")
    assert "sagemaker-training 4.9.0" in done.stdout


def test_a_broken_model_is_a_problem_in_one_sentence(broken: Path) -> None:
    done = ask([], broken)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  problem"))
    assert "model.safetensors are damaged" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_command_line_is_exit_code_2() -> None:
    done = ask(["patient"])
    assert done.returncode == 2
    assert "'patient' is not one of 'host', 'image', 'model'" in done.stderr


@pytest.fixture
def library(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return nvml.library(tmp_path).parent


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler, so no management library for a GPU that is not there")
def test_an_old_driver_is_named_with_the_exact_settings_that_mend_it(library: Path) -> None:
    place = "/fake" if doors.ENGINE else str(library)
    flags = ("-v", f"{library}:/fake:ro") if doors.ENGINE else ()
    old = nvml.environment("470.256.02")
    done = ask(["host", "--json"], None, flags, LD_LIBRARY_PATH=place, **old)
    assert done.returncode == 1
    (bad,) = (finding for finding in told(done)["host"] if finding["status"] == "problem")
    assert bad["what"] == "driver 470.256.02 is too old for CUDA 12.8 on Tesla T4"
    assert "InferenceAmiVersion=al2-ami-sagemaker-inference-gpu-3-1" in bad["remedy"]
    assert "TransformAmiVersion=al2-ami-sagemaker-batch-gpu-535" in bad["remedy"]


@needs_engine
def test_any_user_on_a_read_only_host_without_a_network() -> None:
    done = doors.plain("doctor", flags=(*READ_ONLY, *NOBODY, *NO_NETWORK))
    assert done.returncode == 0, done.stdout
    assert "0 problem(s)" in done.stdout


@needs_engine
def test_a_read_only_host_without_scratch_is_a_problem() -> None:
    done = doors.plain("doctor", "host", flags=("--read-only",))
    assert done.returncode == 1
    assert "/tmp cannot be written (Read-only file system)" in done.stdout


@needs_engine
def test_memory_is_what_the_container_may_use() -> None:
    done = doors.plain("doctor", "host", flags=("-m", "1g"))
    assert done.returncode == 0
    assert "1.0 GiB memory may be used here" in done.stdout
    assert "  warning" in done.stdout


def test_make_doctor_puts_desk_image_and_model_together(trained: doors.Finished) -> None:
    environment = {**os.environ, "ENGINE": doors.ENGINE or "none", "MODEL": str(trained.model), "ARGS": "--json"}
    command = ["make", "--silent", "doctor", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ways.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = told(done)
    assert list(parts) == ["desk", "host", "image", "model"]
    assert parts["model"][-1]["status"] == "ok"
    if doors.ENGINE:
        assert any(finding["what"].startswith("labels: version ") for finding in parts["image"])
