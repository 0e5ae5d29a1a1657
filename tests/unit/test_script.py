"""What a user's own training script may use: it ends in time, resumes, and tells its metrics."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from image_classifier import script
from image_classifier.training.metrics import definitions
from train_command import start, submit

PROGRAM = """
import time
import torch
from image_classifier.script import log_metric, resume_or_start, should_stop
torch.manual_seed(0)
network = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
course = resume_or_start(network=network, optimizer=optimizer)
print("starts at", course.epoch, flush=True)
for epoch in range(course.epoch, 4):
    optimizer.zero_grad()
    loss = (network(torch.ones(1, 1)) - 2).square().sum()
    loss.backward()
    optimizer.step()
    log_metric(epoch=epoch + 1, train_loss=loss.item())
    course.save(epoch + 1)
    while WAITS and epoch == 1 and not should_stop():
        time.sleep(0.05)
    if should_stop():
        break
"""


def lines_of(base: Path, waits: bool) -> list[str]:
    """What the script prints; a SIGTERM comes after its second epoch."""
    submit(base, f"WAITS = {waits}\n{PROGRAM}")
    lines = []
    with start(base) as job:
        assert job.stdout is not None
        for line in job.stdout:
            lines.append(line.strip())
            if waits and line.startswith("epoch=2;"):
                job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0, lines
    return [line for line in lines if line.startswith(("epoch=", "starts at"))]


def test_a_script_that_is_stopped_goes_on_where_it_was_and_learns_the_same(tmp_path: Path) -> None:
    for name in ("alone", "stopped"):
        for folder in ("input/config", "input/data", "model", "output"):
            (tmp_path / name / folder).mkdir(parents=True)
    whole = lines_of(tmp_path / "alone", waits=False)
    assert whole[0] == "starts at 0"
    first = lines_of(tmp_path / "stopped", waits=True)
    assert first == whole[:3]
    assert lines_of(tmp_path / "stopped", waits=False) == ["starts at 2", *whole[3:]]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process is a script: its signals are as before when it ends."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield tmp_path
    script._stop.cache_clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_is_a_request_and_no_end(base: Path) -> None:
    assert not script.should_stop()
    signal.raise_signal(signal.SIGTERM)
    assert script.should_stop()


@pytest.mark.parametrize(("rank", "writes"), [(None, True), ("0", True), ("1", False)])
def test_only_the_main_process_saves_and_tells(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str | None, writes: bool
) -> None:
    if rank:
        monkeypatch.setenv("RANK", rank)
    course = script.resume_or_start(network=torch.nn.Linear(2, 2))
    course.save(1)
    script.log_metric(epoch=1, val_loss=0.25)
    assert len(list((base / "checkpoints").glob("*.pt"))) == int(writes)
    assert capsys.readouterr().out == ("epoch=1; val_loss=0.25;\n" if writes else "")


def test_the_definitions_of_the_image_read_what_a_script_tells(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.log_metric(val_accuracy=0.875)
    (regex,) = (each["Regex"] for each in definitions() if each["Name"] == "val_accuracy")
    assert re.findall(regex, capsys.readouterr().out) == ["0.875"]


def test_a_large_checkpoint_is_warned_of(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(script, "LARGE", 100)
    script.resume_or_start(network=torch.nn.Linear(2, 2)).save(1)
    assert "and 2 are kept: save less often." in caplog.text
