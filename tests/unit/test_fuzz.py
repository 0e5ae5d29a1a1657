"""Ten thousand spoilt files through the decoder: each is a picture or is refused in a sentence, and nothing leaks."""

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from calls import context
from encoded import saved
from image_classifier import images
from image_classifier.images import ImageError, Preprocessing
from image_classifier.serving import handler

FILES = 10_000
GROWTH = 64 << 20  # bytes; 9,000 lost pictures of the smallest size would be three times as much
LIMIT = 1_000_000
PREPROCESSING = Preprocessing(image_size=32)
Mutation = Callable[[bytearray, random.Random], None]


def flip_bits(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def truncate(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(1, len(data)) :]


def overwrite(data: bytearray, draw: random.Random) -> None:
    """Lengths and offsets are where decoders fail: extreme values, at the start rather than the end."""
    value = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff"])
    at = int(len(data) * draw.random() ** 3)
    data[at : at + 4] = value


def move(data: bytearray, draw: random.Random) -> None:
    start, end = sorted(draw.randrange(len(data)) for _ in range(2))
    piece = data[start:end]
    del data[start:end]
    at = draw.randrange(len(data) + 1)
    data[at:at] = piece * draw.randint(0, 2)


MUTATIONS: tuple[Mutation, ...] = (flip_bits, truncate, overwrite, move)


def seeds() -> list[bytes]:
    """Small pictures of every format and of the modes that take other ways through the decoder."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 4), np.uint8)
    colour = Image.fromarray(noise)
    rgb, exif = colour.convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    made = [saved(rgb, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    made += [saved(colour, "PNG"), saved(rgb.convert("P"), "PNG", transparency=3), saved(rgb.convert("CMYK"), "JPEG")]
    made += [saved(rgb, "JPEG", progressive=True), saved(rgb, "JPEG", exif=exif), saved(rgb, "WEBP", lossless=True)]
    made += [saved(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    made += [saved(rgb, "GIF", save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)] * 2)]
    return [
        *made,
        saved(rgb.convert("1"), "TIFF", compression="group4"),
        saved(rgb.convert("I").convert("I;16"), "PNG"),
    ]


def spoilt(count: int, seed: int) -> Iterator[bytes]:
    draw, originals = random.Random(seed), seeds()
    for number in range(count):
        data = bytearray(originals[number % len(originals)])
        for _ in range(draw.randint(1, 3)):
            if len(data) > 4:
                draw.choice(MUTATIONS)(data, draw)
        yield bytes(data)


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
