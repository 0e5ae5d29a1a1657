"""What `serve` says of its machine before it starts, and how GPUs change its size."""

import os
from pathlib import Path

import pytest

from image_classifier import gpu
from image_classifier.contract import Settings
from image_classifier.errors import PlatformError
from image_classifier.gpu import Devices, Gpu
from image_classifier.serving import java, report, sizing

T4 = Gpu("Tesla T4", (7, 5), 16 << 30)


def host(monkeypatch: pytest.MonkeyPatch, found: Devices | None, cuda: str | None = "12.8") -> None:
    monkeypatch.setattr(gpu, "find", lambda: found)
    monkeypatch.setattr(report, "_cuda", lambda: cuda)


def test_the_cuda_of_pytorch_is_known_without_importing_it() -> None:
    import torch

    assert report._cuda() == torch.version.cuda


def test_a_driver_that_is_too_old_ends_it_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, Devices("470.57.02", (T4,)))
    with pytest.raises(PlatformError, match=r"driver 470\.57\.02 is too old for CUDA 12\.8.*set InferenceAmiVersion="):
        report.devices()


@pytest.mark.parametrize(
    ("found", "cuda", "gpus", "says"),
    [
        (None, "12.8", 0, "there is no NVIDIA driver"),
        (Devices("535.1.1", ()), "12.8", 0, "this container was given no GPU; start it with `docker run --gpus all`"),
        (Devices("535.1.1", (T4,)), None, 0, "this is a CPU build of PyTorch; use the image with CUDA."),
        (Devices("535.1.1", (T4, T4)), "12.8", 2, "2 x Tesla T4 (16 GiB), driver 535.1.1; CUDA 12.8."),
    ],
)
def test_what_can_be_used_is_told(
    found: Devices | None, cuda: str | None, gpus: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host(monkeypatch, found, cuda)
    usable, line = report.devices()
    assert usable == gpus
    assert line.startswith("Device: ")
    assert says in line


@pytest.mark.parametrize(("environ", "workers"), [({}, 2), ({"SAGEMAKER_MODEL_SERVER_WORKERS": "5"}, 5)])
def test_there_is_one_worker_a_gpu_unless_told_otherwise(
    environ: dict[str, str], workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    settings = Settings.from_environment(environ)
    sizes = sizing.compute(settings, tmp_path, gpus=2)
    assert sizes.workers == workers
    assert "1 a GPU; " in sizes.explain()[0]
    assert "number_of_gpu=2\n" in java.properties(tmp_path, settings, sizes)
    assert "number_of_gpu=0\n" in java.properties(tmp_path, settings, sizing.compute(settings, tmp_path))


def test_the_limits_of_a_request_are_told() -> None:
    line = report.limits(Settings.from_environment({"CLASSIFIER_MAX_RECORDS": "7", "SAGEMAKER_BATCH": "true"}))
    assert "at most 7 pictures of 50 million pixels each" in line
    assert line.endswith("504 after 595 s.")


def test_the_files_of_the_artifact_are_listed(tmp_path: Path) -> None:
    settings = Settings.from_environment({})
    assert "(0 files, 0.0 MB), answered by our own handler." in report.model(tmp_path, settings)
    (tmp_path / "code").mkdir()
    for name in ("config.json", "code/inference.py"):
        (tmp_path / name).touch()
    script = tmp_path / "code/inference.py"
    assert f"(2 files, 0.0 MB: code/inference.py, config.json), answered by {script}." in report.model(
        tmp_path, settings
    )
    for number in range(12):
        (tmp_path / f"x{number:02}").touch()
    assert "config.json, x00, x01, x02, x03, x04, x05, x06, x07, x08, x09 and 2 more), " in report.model(
        tmp_path, settings
    )


def cautions(folder: Path, **environ: str) -> list[str]:
    return report.cautions(folder, Settings.from_environment(environ))


def test_a_program_that_is_not_there_is_told_with_what_answers_instead(tmp_path: Path) -> None:
    assert cautions(tmp_path) == []
    (told,) = cautions(tmp_path, SAGEMAKER_PROGRAM="train.py")
    assert told.startswith(f"SAGEMAKER_PROGRAM=train.py is neither in {tmp_path}/code nor in {tmp_path}: ")
    assert "our own handler answers" in told
    (tmp_path / "train.py").touch()
    assert cautions(tmp_path, SAGEMAKER_PROGRAM="train.py") == []


def test_requirements_that_nobody_installs_are_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").touch()
    assert cautions(tmp_path) == [], "no script asks for them"
    (tmp_path / "inference.py").touch()
    (told,) = cautions(tmp_path)
    assert told.startswith(f"{tmp_path}/requirements.txt is not installed: ")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").touch()
    (tmp_path / "inference.py").unlink()
    assert cautions(tmp_path)[0].startswith(f"{tmp_path}/code/requirements.txt is not installed: ")
