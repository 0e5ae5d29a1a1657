"""The kinds of error, and what each becomes: a failure file, an exit code, an HTTP status."""

import errno
import os
import traceback
from enum import IntEnum
from pathlib import Path

FAILURE_LIMIT = 1024  # SageMaker shows the first 1024 characters of /opt/ml/output/failure
# how CUDA and its libraries, the C++ library, the kernel, and torch on Windows and on Linux say that memory is short
_MEMORY_SIGNS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "Cannot allocate memory",
    "not enough memory",
    "can't allocate memory",
)


class ExitCode(IntEnum):
    """How `train` and `serve` end; SageMaker only asks whether it is zero."""

    OK = 0
    USER = 1
    ALGORITHM = 2
    PLATFORM = 3


class UserError(Exception):
    """Something the caller can mend. The message is one sentence: what, where, what to do."""


class PlatformError(Exception):
    """The machine gave out: disk, memory, a device. The message is one sentence with the remedy."""


class RequestError(UserError):
    """A request that is answered with a 4xx or 5xx status.

    Args:
        status: HTTP status.
        code: short machine-readable name, such as `bad_image`.
        message: one sentence for the caller.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def message(self) -> str:
        """The sentence for the caller."""
        return str(self)


def as_platform_error(error: BaseException) -> PlatformError | None:
    """Recognise a full disk or exhausted memory behind an exception; None for anything else."""
    if isinstance(error, PlatformError):
        return error
    if is_full_disk(error):
        name = getattr(error, "filename", None)
        return PlatformError(
            f"The disk is full{f' while writing {name}' if name else ''}; give the job a larger volume."
        )
    if is_out_of_memory(error):
        return PlatformError("Out of memory; use a smaller batch_size or image_size, or an instance with more memory.")
    return None


def is_full_disk(error: BaseException) -> bool:
    """Tell a full disk, or a full quota; torch and safetensors report it as text."""
    told = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return told or "No space left on device" in str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell every spelling of exhausted memory: Python's, CUDA's, the C++ allocator's, the kernel's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error)
    return any(sign in text for sign in _MEMORY_SIGNS)


def is_lost_device(error: BaseException) -> bool:
    """Tell a GPU that this process cannot use any more: after one such error all that follows fails, too."""
    return "CUDA error" in str(error) and not is_out_of_memory(error)


def exit_code(error: BaseException) -> ExitCode:
    """The exit status an error deserves."""
    if isinstance(error, UserError):
        return ExitCode.USER
    return ExitCode.PLATFORM if as_platform_error(error) else ExitCode.ALGORITHM


def sentence(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, UserError):
        return str(error)
    platform = as_platform_error(error)
    if platform:
        return str(platform)
    return " ".join("".join(traceback.format_exception_only(error)).split())


def failure_text(error: BaseException) -> str:
    """What goes into the failure file: the reason first, then the tail of the traceback, at most 1024 characters."""
    reason = sentence(error)[:FAILURE_LIMIT]
    if isinstance(error, UserError):
        return reason
    trace = "".join(traceback.format_exception(error))
    room = FAILURE_LIMIT - len(reason) - 2
    return f"{reason}\n\n{trace[-room:]}" if room > 0 else reason


def write_failure(path: Path, error: BaseException) -> None:
    """Write the failure file; a file that cannot be written (full disk) must not hide the error itself."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(failure_text(error), encoding="utf-8", errors="backslashreplace")
    except OSError as problem:
        print(f"Could not write {os.fspath(path)}: {problem}", flush=True)
