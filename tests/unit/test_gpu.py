"""Driver, CUDA and compute capability: the table of facts, and what NVIDIA's library is asked."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nvml
from image_classifier import gpu
from image_classifier.gpu import Capability, Devices, Gpu

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ENDPOINT, BATCH = "InferenceAmiVersion=al2-ami-sagemaker-inference-gpu-3-1", "al2-ami-sagemaker-batch-gpu-535"
NEWEST = "InferenceAmiVersion=al2023-ami-sagemaker-inference-gpu-4-1"
WIDE = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")  # torch 2.10 with CUDA 12.8
ASK = "from image_classifier import gpu; from pathlib import Path; import sys; print(gpu.find(Path(sys.argv[1])))"


def host(driver: str, *capabilities: Capability) -> Devices:
    return Devices(
        driver, tuple(Gpu(f"GPU {major}.{minor}", (major, minor), 16 << 30) for major, minor in capabilities)
    )


@pytest.mark.parametrize("driver", ["525.60.13", "535.183.01", "550.54.14", "580.65.06"])
@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0)])
def test_cuda_12_8_runs_on_every_driver_and_gpu_that_can_be_chosen(driver: str, capability: Capability) -> None:
    assert gpu.fault(host(driver, capability), "12.8", WIDE) is None


@pytest.mark.parametrize(
    ("driver", "capability", "cuda", "words"),
    [
        ("470.256.02", (7, 5), "12.8", ("driver 470.256.02 is too old for CUDA 12.8", ENDPOINT, BATCH, "525.60.13")),
        ("525.60", (8, 6), "12.8", (ENDPOINT,)),
        ("470.256.02", (7, 0), "12.8", ("InferenceAmiVersion=al2-ami-sagemaker-inference-gpu-2 ", BATCH)),
        ("550.54.14", (12, 0), "12.8", (NEWEST, "CPU instance for batch transform", "570.26")),
        ("550.54.14", (8, 6), "13.0", (NEWEST, "CPU instance for batch transform", "580.65.06")),
    ],
)
def test_an_old_driver_is_named_with_the_setting_that_mends_it(
    driver: str, capability: Capability, cuda: str, words: tuple[str, ...]
) -> None:
    fault = gpu.fault(host(driver, capability), cuda, WIDE)
    assert fault
    assert all(each in str(fault) for each in words), str(fault)
    assert str(fault).endswith(".")


@given(st.integers(1, 700), st.integers(0, 300), st.sampled_from(["12.6", "12.8", "13.0"]))
def test_a_newer_driver_never_brings_a_fault_that_an_older_one_had_not(major: int, minor: int, cuda: str) -> None:
    here, newer = (gpu.fault(host(f"{each}.{minor}", (8, 6)), cuda) for each in (major, major + 1))
    assert here or not newer


def test_a_gpu_without_code_for_it_is_named_with_what_there_is() -> None:
    fault = gpu.fault(host("580.65.06", (8, 6), (6, 1)), "12.8", WIDE)
    assert "GPU 6.1 has compute capability 6.1, and this build of PyTorch has code for 7.0, 7.5, 8.0" in str(fault)


def test_code_runs_on_a_higher_minor_capability_but_not_on_another_major_one() -> None:
    assert gpu.fault(host("580.65.06", (8, 9)), "12.8", ["sm_80"]) is None
    assert gpu.fault(host("580.65.06", (9, 0)), "12.8", ["sm_80"])
    assert gpu.fault(host("580.65.06", (9, 0)), "12.8", []) is None, "nothing is known of the build"


def test_a_cpu_build_and_a_container_without_gpus_are_said() -> None:
    assert "CPU build of PyTorch" in str(gpu.fault(host("550.54.14", (8, 6)), None))
    assert "this container was given no GPU; start it with `docker run --gpus all`" in str(
        gpu.fault(host("550.54.14"), "12.8")
    )


def test_devices_are_counted() -> None:
    assert host("550.54.14", (8, 6), (8, 6)).describe() == "2 x GPU 8.6 (16 GiB), driver 550.54.14"


@pytest.mark.parametrize(
    ("said", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024\n", "470.256.02"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x@y)\n", "580.65.06"),
    ],
)
def test_a_host_whose_driver_is_not_given_to_the_container(tmp_path: Path, said: str, driver: str) -> None:
    (tmp_path / "version").write_text(said)
    assert gpu.find(tmp_path / "version") == Devices(driver, ())


def test_no_driver_at_all(tmp_path: Path) -> None:
    assert gpu.find(tmp_path / "nothing") is None


def test_nvidias_library_is_asked(tmp_path: Path, python: Run) -> None:
    folder = str(nvml.library(tmp_path).parent)
    done = python("-c", ASK, "/nowhere", LD_LIBRARY_PATH=folder, **nvml.environment("535.183.01", "8.6"))
    wanted = Devices("535.183.01", (Gpu("Tesla T4", (8, 6), 16 << 30),))
    assert done.stdout == f"{wanted}\n", done.stderr


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (None, (0, 1, 2, 3)),
        ("2", (2,)),
        ("3, 1", (3, 1)),
        ("0,7,1", (0,)),  # as CUDA does it: what comes after one that there is not is not seen either
        ("1,-1,2", (1,)),
        ("GPU-b1,GPU-d", (1, 3)),
        ("GPU-z", ()),
        ("MIG-1,MIG-2", (3,)),  # a process sees one part
        ("MIG-7", ()),
        ("", ()),
        ("-1", ()),
        ("none", ()),
    ],
)
def test_only_what_cuda_shows_is_there(said: str | None, seen: tuple[int, ...], tmp_path: Path, python: Run) -> None:
    folder = str(nvml.library(tmp_path).parent)
    environment = nvml.environment("535.183.01", NVML_COUNT="4") | (
        {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    )
    done = python("-c", ASK, "/nowhere", LD_LIBRARY_PATH=folder, **environment)
    names = [f"Tesla T4 {index}" if index else "Tesla T4" for index in seen]
    gpus = tuple(Gpu(name, (7, 5), 16 << 30) for name in names)
    assert done.stdout == f"{Devices('535.183.01', gpus, 4 - len(gpus))}\n", done.stderr


def test_gpus_that_are_hidden_are_no_missing_ones() -> None:
    fault = str(gpu.fault(Devices("550.54.14", (), 4), "12.8"))
    assert fault == "CUDA_VISIBLE_DEVICES shows none of the 4 GPU(s) here; name some of them, or unset it."


def test_a_gpu_that_is_lost_is_one_sentence(tmp_path: Path, python: Run) -> None:
    folder = str(nvml.library(tmp_path).parent)
    done = python("-c", ASK, "/nowhere", LD_LIBRARY_PATH=folder, **nvml.environment("535.183.01", NVML_LOST="1"))
    assert "PlatformError: A GPU does not answer its driver (GPU is lost); restart" in done.stderr
