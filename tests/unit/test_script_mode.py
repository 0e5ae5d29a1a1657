"""Script mode: what is said when a user's own program fails. tests/unit/test_entrypoint.py runs it whole."""

import os
import signal
import subprocess
import sys
import time
from collections import deque

import pytest

from image_classifier import machine
from image_classifier.errors import FAILURE_LIMIT, UserError, failure_text
from image_classifier.training.script_mode import KEPT_LINES, _explain, _stderr_kept_in, _warn_of_shared_memory

TRACEBACK = """epoch 1
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
ValueError: the third column is missing
"""


@pytest.mark.parametrize("output", [TRACEBACK, TRACEBACK + "cleaning up\n", "KeyError: 'earlier'\n" + TRACEBACK])
def test_the_last_exception_is_the_reason(output: str) -> None:
    reason = "train.py failed with exit code 1: ValueError: the third column is missing"
    assert _explain("train.py", 1, output.splitlines()) == reason


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("one\n\ntwo  \n", "two"),
        ("package.sub.CustomError: no\n", "package.sub.CustomError: no"),
        ("KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("", "see the log"),
    ],
)
def test_without_an_exception_the_last_line_is_the_reason(output: str, reason: str) -> None:
    assert _explain("train.py", 3, output.splitlines()) == f"train.py failed with exit code 3: {reason}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (132, "SIGILL; it holds instructions that this processor does not have"),
        (-signal.SIGABRT, "SIGABRT; a library gave up"),
        (134, "SIGABRT; a library gave up"),
        (135, "SIGBUS; /dev/shm or a file it read from is too small"),
        (137, "SIGKILL; it may have run out of memory"),
        (-signal.SIGKILL, "SIGKILL; it may have run out of memory"),
        (139, "SIGSEGV; a native library crashed"),
        (-signal.SIGUSR1, "SIGUSR1 (exit code -10)"),
    ],
)
def test_a_program_that_the_kernel_ended_is_explained_in_words(code: int, words: str) -> None:
    said = _explain("train.py", code, ["epoch 3\n"])
    assert said.startswith(f"train.py was ended by {words}")
    assert said.endswith(f"(exit code {code}): epoch 3")


@pytest.mark.parametrize("code", [1, 2, 127, 128, 138, 255])
def test_a_program_that_ended_by_itself_is_not_said_to_be_killed(code: int) -> None:
    assert _explain("train.py", code, ["epoch 3\n"]) == f"train.py failed with exit code {code}: epoch 3"


def test_of_torchrun_s_output_the_exception_of_the_program_is_the_reason() -> None:
    lines = [
        "[rank1]: Traceback (most recent call last):",
        "[rank1]: ValueError: no such column",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
        "train.py FAILED",
    ]
    assert _explain("train.py", 1, lines) == "train.py failed with exit code 1: ValueError: no such column"


@pytest.mark.parametrize(
    ("size", "said"), [(64 << 20, ["/dev/shm is 64 MiB: where DataLoader workers die"]), (8 << 30, [])]
)
def test_a_small_shared_memory_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, size: int, said: list[str]
) -> None:
    monkeypatch.setattr(machine, "shared_memory", lambda: size)
    _warn_of_shared_memory()
    assert [message.split(" of a bus")[0] for message in caplog.messages] == said
    assert all(record.levelname == "WARNING" for record in caplog.records)


def test_a_long_reason_fits_into_the_failure_file() -> None:
    reason = _explain("train.py", 1, ["ValueError: " + "x" * 5000])
    assert len(failure_text(UserError(reason))) == FAILURE_LIMIT


def test_what_children_write_to_stderr_is_passed_on_and_its_end_kept(capfd: pytest.CaptureFixture[str]) -> None:
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    program = (
        "import sys\nfor n in range(1000): print('line', n, file=sys.stderr)\nsys.stderr.buffer.write(b'\\xff\\n')"
    )
    with _stderr_kept_in(lines):
        subprocess.run([sys.executable, "-c", program], check=True)
    assert [line.strip() for line in lines] == [*(f"line {n}" for n in range(1001 - KEPT_LINES, 1000)), "\ufffd"]
    os.write(2, b"as before\n")
    time.sleep(0.05)
    seen = capfd.readouterr().err
    assert seen.startswith("line 0\nline 1\n")
    assert seen.endswith("as before\n")
    assert not any("as before" in line for line in lines)
