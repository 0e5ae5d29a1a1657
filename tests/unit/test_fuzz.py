"""Ten thousand spoilt files through the decoder: each is a picture or is refused in a sentence, and nothing leaks."""

import gc
from pathlib import Path

import psutil
import pytest

from calls import context
from image_classifier import images
from image_classifier.images import ImageError, Preprocessing
from image_classifier.serving import handler
from spoilt import seeds, spoilt

FILES = 10_000
GROWTH = 64 << 20  # bytes; 9,000 lost pictures of the smallest size would be three times as much
LIMIT = 1_000_000
PREPROCESSING = Preprocessing(image_size=32)


def read(data: bytes) -> bool:
    """Whether it is still a picture; anything but a picture or a sentence fails."""
    try:
        pixels = images.read(data, PREPROCESSING, LIMIT)
    except ImageError as error:
        sentence = str(error)
    else:
        assert pixels.shape == (32, 32, 3)
        return True
    assert 10 < len(sentence) < 300
    assert "\n" not in sentence
    return False


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it mends
def test_ten_thousand_spoilt_files_are_pictures_or_refused_and_leave_nothing() -> None:
    assert all(map(read, seeds()))
    files = spoilt(FILES, seed=20)
    usable = sum(read(next(files)) for _ in range(FILES // 10))
    before = memory()
    usable += sum(map(read, files))
    assert FILES // 10 < usable < FILES * 9 // 10
    assert memory() - before < GROWTH


def memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.filterwarnings("ignore")
def test_spoilt_files_are_200_or_400_of_the_handler(model: Path) -> None:
    files = list(spoilt(300, seed=7))
    made = context(model, *({} for _ in files))
    answers = handler.handle([{"body": body} for body in files], made) or []
    assert {made.get_response_status(index)[0] for index in range(len(files))} == {200, 400}
    assert len(answers) == len(files)
