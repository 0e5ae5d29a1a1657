"""Progress of long work: a bar for a person, plain lines for a log."""

import io
import sys
from collections.abc import Generator, Iterator
from typing import cast

import pytest

from image_classifier.training import progress as module
from image_classifier.training.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def to(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, every: float = 0.0) -> io.StringIO:
    """Write to a stream, and a line each so many seconds."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "LOG_EVERY", every)
    return stream


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stderr = to(monkeypatch, io.StringIO())
    assert list(progress("abc", 3, "Epoch 1 of 2")) == ["a", "b", "c"]
    assert caplog.messages == [
        "Epoch 1 of 2: 1 of 3 batches (33 %)",
        "Epoch 1 of 2: 2 of 3 batches (66 %)",
        "Epoch 1 of 2: 3 of 3 batches (100 %)",
    ]
    assert stderr.getvalue() == ""


def test_a_log_is_not_filled_with_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    to(monkeypatch, io.StringIO(), every=3600.0)
    assert len(list(progress(range(50), 50, "Testing"))) == 50
    assert caplog.messages == []


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stderr = to(monkeypatch, Terminal())
    assert list(progress("abc", 3, "Testing")) == ["a", "b", "c"]
    assert "Testing:" in stderr.getvalue()
    assert stderr.getvalue().endswith("\r")
    assert caplog.messages == []


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_items_are_asked_for_one_by_one(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]) -> None:
    to(monkeypatch, stream())
    given: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            given.append(number)
            yield number

    passing = cast(Generator[int], progress(items(), 3, "Testing"))
    assert next(passing) == 0
    assert given == [0]
    passing.close()
