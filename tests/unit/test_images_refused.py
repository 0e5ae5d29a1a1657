"""Pictures that are refused: within limits, and never with anything but ImageError."""

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoded import saved
from image_classifier import images
from image_classifier.images import ImageError

LIMIT = 1_000_000
Picture = Callable[..., bytes]


def png_claiming(side: int) -> bytes:
    """A small PNG whose header claims another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_at_the_limit_is_decoded_and_one_beyond_is_not(picture: Picture) -> None:
    assert images.decode(picture(size=(100, 50)), 5000).size == (100, 50)
    with pytest.raises(ImageError, match=r"101 x 50 pixels; the limit is 5000"):
        images.decode(picture(size=(101, 50)), 5000)


def test_the_limit_is_checked_before_a_pixel_is_decoded() -> None:
    started = time.perf_counter()
    with pytest.raises(ImageError, match="4000 x 4000"):
        images.decode(png_claiming(4000), LIMIT)
    assert time.perf_counter() - started < 1


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_names_the_limit(side: int) -> None:
    with pytest.raises(ImageError, match=f"limit is {LIMIT} pixels|limit of {LIMIT} pixels"):
        images.decode(png_claiming(side), LIMIT)


BAD = {
    "empty": b"",
    "text": b"this is no picture",
    "html": b"<!doctype html><html></html>",
    "zeros": bytes(1000),
    "psd": b"8BPS\0\x01" + bytes(100),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "pdf": b"%PDF-1.4\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "ico": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\0\x04\0\0\x16\0\0\0",
    "jpeg start": b"\xff\xd8\xff",
    "png start": b"\x89PNG\r\n\x1a\n",
    "tiff start": b"II*\0\x08\0\0\0",
    "gif start": b"GIF89a",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_picture_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        images.decode(BAD[name], LIMIT)
    message = str(caught.value)
    assert message.startswith(("The picture", "The data is not a picture"))
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused(kind: str, kept: float) -> None:
    noise = Image.frombytes("RGB", (64, 64), np.random.default_rng(0).bytes(64 * 64 * 3))
    data = saved(noise, kind)
    with pytest.raises(ImageError):
        images.decode(data[: int(len(data) * kept)], LIMIT)


def answer(data: bytes) -> str:
    """What becomes of a picture: its mode, or "refused" in one line; anything else comes out as an exception."""
    try:
        return images.decode(data, LIMIT).mode
    except ImageError as error:
        return "two lines" if "\n" in str(error) else "refused"


_SEEDS = [
    saved(Image.linear_gradient("L").resize((64, 32)).convert("RGB"), kind, **options)
    for kind, options in (
        ("JPEG", {}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
    )
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged tags
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.sampled_from(_SEEDS))
def test_mutated_pictures_give_a_picture_or_an_image_error(data: st.DataObject, seed: bytes) -> None:
    mutated = bytearray(seed)
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(seed) - 1), st.integers(0, 255)), min_size=1, max_size=12)
    ):
        mutated[position] = value
    cut = data.draw(st.integers(0, len(mutated)))
    assert answer(bytes(mutated[:cut] if data.draw(st.booleans()) else mutated)) in ("RGB", "refused")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_an_image_error(data: bytes) -> None:
    assert answer(data) in ("RGB", "refused")
