"""Pictures spoilt at random, the same ones each time: what a decoder must refuse in a sentence, or read."""

import random
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from encoded import saved

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
    """So many files, each with one to three faults."""
    draw, originals = random.Random(seed), seeds()
    for number in range(count):
        data = bytearray(originals[number % len(originals)])
        for _ in range(draw.randint(1, 3)):
            if len(data) > 4:
                draw.choice(MUTATIONS)(data, draw)
        yield bytes(data)
