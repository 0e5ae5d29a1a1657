"""Checkpoints: whole or not at all, and found again."""

import logging
from pathlib import Path

import pytest
import torch

from image_classifier.errors import sentence
from image_classifier.training import checkpoint
from image_classifier.training.checkpoint import Checkpoints, fingerprint


def state(value: float) -> dict[str, object]:
    return {"module": {"weight": torch.full((50,), value)}, "progress": {"epoch": int(value), "history": [{"a": 1.0}]}}


def value(checkpoints: Checkpoints) -> float | None:
    found = checkpoints.latest()
    return None if found is None else float(found["module"]["weight"][0])


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "aaaaaaaa")


def test_an_absent_directory_has_no_checkpoint(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None


def test_what_is_saved_comes_back(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(3), 3)
    found = checkpoints.latest()
    assert found is not None
    assert found["progress"] == {"epoch": 3, "history": [{"a": 1.0}]}
    assert torch.equal(found["module"]["weight"], torch.full((50,), 3.0))


def test_the_newest_wins_and_two_are_kept(checkpoints: Checkpoints) -> None:
    for step in (9, 10, 100, 1000):
        path = checkpoints.save(state(step), step)
    assert value(checkpoints) == 1000
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == [
        "checkpoint-aaaaaaaa-000000100.pt",
        "checkpoint-aaaaaaaa-000001000.pt",
    ]
    assert path.name == "checkpoint-aaaaaaaa-000001000.pt"


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_are_asked_for_and_their_size_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: int
) -> None:
    checkpoints = Checkpoints(tmp_path, "aaaaaaaa", keep)
    with caplog.at_level(logging.INFO):
        for step in range(5):
            checkpoints.save({"weights": torch.zeros(10**6)}, step)
    assert len(list(tmp_path.iterdir())) == keep
    told = f"A checkpoint has 4.0 MB; the newest {keep} are kept, {keep * 4}.0 MB in {tmp_path}."
    assert caplog.messages.count(told) == 1


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_newest_falls_back_and_says_so(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    checkpoints.save(state(1), 1)
    newest = checkpoints.save(state(2), 2)
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert value(checkpoints) == 1
    assert f"Checkpoint {newest.name} is damaged" in caplog.text
    assert "Resuming from checkpoint checkpoint-aaaaaaaa-000000001.pt" in caplog.text


def test_all_damaged_means_a_fresh_start_and_says_so(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.save(state(1), 1).write_bytes(b"x")
    assert checkpoints.latest() is None
    assert "No checkpoint can be read: training starts anew." in caplog.messages


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_full_disk_is_named_and_leaves_the_older_one(checkpoints: Checkpoints, size: int) -> None:
    checkpoints.save(state(1), 1)
    partial = checkpoints.folder / "checkpoint-aaaaaaaa-000000002.partial"
    partial.symlink_to("/dev/full")  # the kernel's own full disk
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.save({"weights": torch.zeros(size)}, 2)
    wanted = f"The disk is full while writing {partial.with_suffix('.pt')}; give the job a larger volume."
    assert sentence(caught.value) == wanted
    assert [path.name for path in checkpoints.folder.iterdir()] == ["checkpoint-aaaaaaaa-000000001.pt"]
    assert value(checkpoints) == 1


def test_what_a_killed_job_left_half_written_goes_away(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir()
    (checkpoints.folder / "checkpoint-aaaaaaaa-000000001.partial").write_bytes(b"half")
    path = checkpoints.save(state(2), 2)
    assert list(checkpoints.folder.iterdir()) == [path]


def test_a_crash_while_writing_leaves_the_older_one(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(state(1), 1)

    def half(_state: object, file: object) -> None:
        file.write(b"half a checkpoint")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(state(2), 2)
    assert value(checkpoints) == 1


def test_a_crash_before_the_rename_leaves_the_older_one_at_the_same_step(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(state(1), 1)

    def crash(*_paths: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(checkpoint.os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        checkpoints.save(state(2), 1)
    monkeypatch.undo()
    assert value(checkpoints) == 1
    checkpoints.save(state(3), 2)
    assert value(checkpoints) == 3


def test_checkpoints_of_another_job_are_untouched_and_said(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    other = Checkpoints(checkpoints.folder, "bbbbbbbb")
    paths = [other.save(state(step), step) for step in (1, 2)]
    assert checkpoints.latest() is None
    assert f"the 2 in {checkpoints.folder} are of other settings, weights or data" in caplog.text
    for step in (5, 6, 7):
        checkpoints.save(state(step), step)
    assert all(path.exists() for path in paths)
    assert value(other) == 2


def test_a_checkpoint_with_code_in_it_is_not_run(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(1), 1)
    torch.save({"module": logging.getLogger}, checkpoints.folder / "checkpoint-aaaaaaaa-000000002.pt")
    assert value(checkpoints) == 1


def test_the_fingerprint_tells_settings_apart() -> None:
    first = fingerprint(chosen={"a": 1, "b": 2}, pictures=[("x", 3)])
    assert first == fingerprint(pictures=[("x", 3)], chosen={"b": 2, "a": 1})
    assert first != fingerprint(chosen={"a": 1, "b": 3}, pictures=[("x", 3)])
    assert first != fingerprint(chosen={"a": 1, "b": 2}, pictures=[("x", 4)])
    assert len(first) == 8
