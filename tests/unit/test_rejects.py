"""Pictures that cannot be used are counted once each, and listed when there are too many."""

from pathlib import Path

import pytest

from image_classifier.errors import UserError
from image_classifier.training.rejects import Rejects


def test_up_to_the_limit_they_are_noted() -> None:
    rejects = Rejects(limit=2)
    for name in ("a.jpg", "b.jpg", "a.jpg"):
        rejects.add(Path("train/dog") / name, "empty")
    assert list(rejects.found) == [Path("train/dog/a.jpg"), Path("train/dog/b.jpg")]


def test_beyond_the_limit_ten_are_named() -> None:
    rejects = Rejects(limit=11)
    for number in range(11):
        rejects.add(Path(f"/data/train/dog/{number:02d}.jpg"), "empty")
    with pytest.raises(UserError) as caught:
        rejects.add(Path("/data/train/dog/11.jpg"), "damaged")
    message = str(caught.value)
    assert message.startswith("12 pictures cannot be used, and max_bad_pictures=11: train/dog/00.jpg (empty); ")
    assert "train/dog/09.jpg (empty) and 2 more. Remove" in message
    assert "\n" not in message


def test_a_limit_that_is_the_smallest_split_s_is_said_as_that() -> None:
    rejects = Rejects(limit=10, smallest=2)
    rejects.add(Path("/data/valid/dog/0.jpg"), "empty")
    with pytest.raises(UserError) as caught:
        rejects.add(Path("/data/valid/dog/1.jpg"), "damaged")
    assert str(caught.value) == (
        "2 pictures cannot be used, and the smallest split has no more than 2: "
        "valid/dog/0.jpg (empty); valid/dog/1.jpg (damaged). Replace them."
    )
