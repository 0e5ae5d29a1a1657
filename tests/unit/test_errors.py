"""Kinds of error: exit codes, sentences, the failure file."""

import errno
from pathlib import Path

import pytest
import torch

from image_classifier.errors import (
    FAILURE_LIMIT,
    ExitCode,
    PlatformError,
    RequestError,
    UserError,
    as_platform_error,
    exit_code,
    failure_text,
    is_lost_device,
    is_out_of_memory,
    sentence,
    write_failure,
)


def raised(error: Exception) -> Exception:
    """The error with a traceback, as a job would meet it."""
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no data"), ExitCode.USER),
        (RequestError(400, "bad_image", "no picture"), ExitCode.USER),
        (PlatformError("broken"), ExitCode.PLATFORM),
        (MemoryError(), ExitCode.PLATFORM),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.PLATFORM),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ExitCode.PLATFORM),
        (RuntimeError("[enforce fail] . file write failed: No space left on device"), ExitCode.PLATFORM),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ExitCode.PLATFORM),
        (ValueError("a bug"), ExitCode.ALGORITHM),
        (OSError(errno.ENOENT, "No such file"), ExitCode.ALGORITHM),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert exit_code(error) == code
    assert exit_code(error) != 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("unable to mmap 46830571 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_every_spelling_of_exhausted_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert "Out of memory" in sentence(error)


def test_torch_says_that_memory_is_short_in_words_we_recognise() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_full_disk_names_the_file() -> None:
    problem = as_platform_error(OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model/x"))
    assert str(problem) == "The disk is full while writing /opt/ml/model/x; give the job a larger volume."


def test_an_ordinary_error_is_none_of_the_platforms() -> None:
    assert as_platform_error(ValueError("x")) is None
    assert not is_out_of_memory(ValueError("x"))


def test_a_sentence_is_one_line() -> None:
    assert sentence(ValueError("two\n  lines")) == "ValueError: two lines"


def test_failure_of_a_user_is_the_sentence_alone() -> None:
    assert failure_text(raised(UserError("Give more data."))) == "Give more data."


def test_failure_of_the_program_has_the_reason_first_and_the_end_of_the_traceback() -> None:
    text = failure_text(raised(ValueError("seven is not eight")))
    assert text.startswith("ValueError: seven is not eight\n\n")
    assert "test_errors.py" in text
    assert text.endswith("ValueError: seven is not eight\n")


@pytest.mark.parametrize("length", [10, 1000, 1010, 1022, 1023, 1024, 5000])
@pytest.mark.parametrize("kind", [UserError, ValueError, PlatformError])
def test_a_failure_never_exceeds_what_sagemaker_shows(kind: type[Exception], length: int) -> None:
    text = failure_text(raised(kind("x" * length)))
    assert len(text) <= FAILURE_LIMIT
    assert "xxxxxxxxxx" in text[:60]


def test_the_failure_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "output" / "failure"
    write_failure(path, UserError("Größe fehlt."))
    assert path.read_text(encoding="utf-8") == "Größe fehlt."


def test_text_that_is_no_unicode_still_reaches_the_failure_file(tmp_path: Path) -> None:
    path = tmp_path / "failure"
    write_failure(path, UserError("Unknown hyperparameter \ud800"))
    assert path.read_text(encoding="utf-8").startswith("Unknown hyperparameter ")


def test_a_failure_file_that_cannot_be_written_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("a file where a folder should be")
    write_failure(tmp_path / "output" / "failure", UserError("x"))
    assert "Could not write" in capsys.readouterr().out


def test_a_request_error_carries_status_code_and_message() -> None:
    error = RequestError(415, "unsupported_media_type", "Send a picture.")
    assert (error.status, error.code, error.message) == (415, "unsupported_media_type", "Send a picture.")


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`", True),
        ("CUDA error: out of memory", False),  # another request may fit
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", False),
        ("shapes cannot be multiplied", False),
    ],
)
def test_a_gpu_that_is_lost_is_told_from_one_that_is_full(text: str, lost: bool) -> None:
    assert is_lost_device(RuntimeError(text)) is lost
