"""Pictures as a person sees them. What is refused is in test_images_refused.py."""

import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, features

from encoded import saved
from image_classifier import images
from image_classifier.images import Preprocessing

LIMIT = 1_000_000
Picture = Callable[..., bytes]


def centre(image: Image.Image) -> tuple[int, ...]:
    assert image.mode == "RGB"
    colour = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(colour, tuple)
    return tuple(int(part) for part in colour)


def near(colour: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 3) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, wanted, strict=True))


@pytest.mark.parametrize(
    ("kind", "mode", "colour", "seen"),
    [
        ("PNG", "RGB", (10, 120, 240), (10, 120, 240)),
        ("PNG", "L", 77, (77, 77, 77)),
        ("JPEG", "L", 77, (77, 77, 77)),
        ("PNG", "1", 1, (255, 255, 255)),
        ("PNG", "1", 0, (0, 0, 0)),
        ("PNG", "RGBA", (200, 10, 10, 0), (255, 255, 255)),
        ("PNG", "RGBA", (200, 10, 10, 255), (200, 10, 10)),
        ("PNG", "RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("PNG", "LA", (40, 0), (255, 255, 255)),
        ("PNG", "LA", (40, 255), (40, 40, 40)),
        ("WEBP", "RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("TIFF", "RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("JPEG", "CMYK", (0, 255, 255, 0), (254, 0, 0)),
        ("TIFF", "CMYK", (255, 0, 255, 0), (0, 255, 0)),
        ("TIFF", "RGB", (10, 120, 240), (10, 120, 240)),
        ("BMP", "RGB", (10, 120, 240), (10, 120, 240)),
        ("GIF", "RGB", (10, 120, 240), (10, 120, 240)),
        ("WEBP", "RGB", (10, 120, 240), (10, 120, 240)),
        ("TIFF", "LAB", (128, 128, 128), (118, 118, 118)),
        ("JPEG", "YCbCr", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_every_mode_is_shown_as_a_person_sees_it(
    picture: Picture, kind: str, mode: str, colour: Any, seen: tuple[int, int, int]
) -> None:
    image = images.decode(picture(colour, (40, 30), kind, mode), LIMIT)
    assert image.size == (40, 30)
    assert near(centre(image), seen, tolerance=12 if mode == "LAB" else 4)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_a_picture(picture: Picture) -> None:
    assert near(centre(images.decode(picture((10, 120, 240), kind="AVIF"), LIMIT)), (10, 120, 240), 12)


def test_palette_pictures_keep_their_colours() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert centre(images.decode(saved(image), LIMIT)) == (200, 100, 50)


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert centre(images.decode(saved(image, transparency=1), LIMIT)) == (255, 255, 255)
    assert centre(images.decode(saved(image, transparency=0), LIMIT)) == (200, 100, 50)


def test_a_transparent_colour_of_an_rgb_png_is_white(picture: Picture) -> None:
    assert centre(images.decode(picture((1, 2, 3), transparency=(1, 2, 3)), LIMIT)) == (255, 255, 255)
    assert centre(images.decode(picture((1, 2, 3), transparency=(9, 9, 9)), LIMIT)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("value", "seen"), [(0, 0), (257, 1), (32896, 128), (65535, 255)])
def test_16_bit_grey_keeps_its_brightness(kind: str, value: int, seen: int) -> None:
    image = Image.fromarray(np.full((20, 20), value, np.uint16))
    assert centre(images.decode(saved(image, kind), LIMIT)) == (seen, seen, seen)


def test_big_endian_16_bit_tiff_keeps_its_brightness() -> None:
    image = Image.fromarray(np.full((20, 20), 32896, ">u2"))
    assert image.mode == "I;16B"
    assert centre(images.decode(saved(image, "TIFF"), LIMIT)) == (128, 128, 128)


def png_of(depth: int, colour_type: int, pixel: bytes, size: int) -> bytes:
    """A PNG that Pillow does not write: 16 bits a channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + pixel * size) * size)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_16_bit_rgb_and_rgba_png_keep_their_colours() -> None:
    rgb = struct.pack(">HHH", 32896, 0, 65535)
    assert near(centre(images.decode(png_of(16, 2, rgb, 8), LIMIT)), (128, 0, 255), 1)
    rgba = struct.pack(">HHHH", 32896, 0, 65535, 0)
    assert centre(images.decode(png_of(16, 6, rgba, 8), LIMIT)) == (255, 255, 255)


# how a picture must be stored so that its EXIF orientation brings it upright
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def corners() -> Image.Image:
    """Four different corners, wider than high: no orientation looks like another."""
    image = Image.new("RGB", (64, 32), "white")
    image.paste((255, 0, 0), (0, 0, 32, 16))
    image.paste((0, 255, 0), (32, 0, 64, 16))
    image.paste((0, 0, 255), (0, 16, 32, 32))
    return image


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", sorted(STORED))
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    how = STORED[orientation]
    stored = corners() if how is None else corners().transpose(how)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    image = images.decode(saved(stored, kind, exif=exif, **options), LIMIT)
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(corners()).astype(int))
    assert image.size == (64, 32)
    assert difference.mean() < 3


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_turned_grey_16_bit_tiff_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.zeros((20, 30), np.uint16))
    assert images.decode(saved(image, "TIFF", exif=exif), LIMIT).size == (20, 30)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_broken_exif_is_ignored(picture: Picture, exif: bytes) -> None:
    assert images.decode(picture(kind="JPEG", exif=exif), LIMIT).size == (40, 30)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(picture: Picture, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert images.decode(picture(kind="JPEG", exif=exif), LIMIT).size == (40, 30)


def test_an_animated_gif_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert centre(images.decode(data, LIMIT)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (1, 1), (3, 2)])
def test_pictures_of_extreme_shape_cost_little(picture: Picture, size: tuple[int, int]) -> None:
    started = time.perf_counter()
    pixels = images.read(picture(size=size), Preprocessing(image_size=64), LIMIT)
    assert pixels.shape == (64, 64, 3)
    assert time.perf_counter() - started < 0.5


def test_the_crop_keeps_the_centre() -> None:
    image = Image.new("RGB", (100, 40), "red")
    image.paste((0, 0, 255), (30, 0, 70, 40))
    crop = np.asarray(images.centre_crop(image, Preprocessing(image_size=32)))
    assert (crop == (0, 0, 255)).all()


def test_the_crop_keeps_the_share_it_is_told() -> None:
    image = Image.new("RGB", (100, 100), "red")
    image.paste((0, 0, 255), (25, 25, 75, 75))
    half = np.asarray(images.centre_crop(image, Preprocessing(image_size=16, crop_ratio=0.5)))
    assert (half[1:-1, 1:-1] == (0, 0, 255)).all()  # the outermost pixels mix with what lies beyond
    whole = np.asarray(images.centre_crop(image, Preprocessing(image_size=16, crop_ratio=1)))
    assert whole[0, 0].tolist() == [255, 0, 0]
    assert whole[8, 8].tolist() == [0, 0, 255]


def test_read_gives_bytes_of_the_network_s_size(picture: Picture) -> None:
    pixels = images.read(picture((9, 8, 7)), Preprocessing(image_size=48), LIMIT)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 48, 3)
    assert pixels[20, 20].tolist() == [9, 8, 7]
    assert torch.equal(images.to_tensor(pixels)[:, 20, 20], torch.tensor([9, 8, 7], dtype=torch.uint8))


SMALL = Preprocessing(image_size=64, crop_ratio=0.8)  # 80 pixels of the short side; four times that are 320


def shaded(size: tuple[int, int]) -> Image.Image:
    """No two parts are alike, and nothing is so small that it is lost when a picture is reduced."""
    draw = np.random.default_rng(0).integers(0, 255, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8)
    return Image.fromarray(draw).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((639, 900), (639, 900)),
        ((640, 900), (320, 450)),
        ((1281, 901), (641, 451)),
        ((1280, 1500), (320, 375)),
        ((2600, 3000), (325, 375)),
    ],
)
def test_a_large_jpeg_is_reduced_by_its_decoder_as_long_as_four_times_what_is_wanted_is_left(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    data = saved(shaded(size), "JPEG", quality=92)
    assert images.decode(data, 10**8, SMALL).size == decoded
    assert images.decode(data, 10**8).size == size  # who names nothing that he wants gets all


@pytest.mark.parametrize(("mode", "orientation"), [("RGB", 1), ("RGB", 6), ("L", 3), ("CMYK", 1)])
def test_what_a_reduced_decoding_shows_is_what_the_whole_one_shows(mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = saved(shaded((1300, 1700)).convert(mode), "JPEG", quality=92, exif=exif)
    assert max(images.decode(data, 10**8, SMALL).size) < 500
    reduced = images.read(data, SMALL, 10**8).astype(float)
    whole = np.asarray(images.centre_crop(images.decode(data, 10**8), SMALL)).astype(float)
    assert np.abs(reduced - whole).mean() < 1.5
    assert whole.std() > 20  # pictures that could differ


def test_other_formats_are_decoded_whole(picture: Picture) -> None:
    for kind in ("PNG", "WEBP", "TIFF"):
        assert images.decode(picture(size=(700, 700), kind=kind), LIMIT, SMALL).size == (700, 700)


def test_normalise_is_the_imagenet_formula() -> None:
    preprocessing = Preprocessing(image_size=16)
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    result = images.normalise(pixels, preprocessing)
    torch.testing.assert_close(result, (pixels.float() / 255 - mean) / std)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalise_leaves_the_pixels_as_they_are() -> None:
    pixels = torch.full((1, 3, 16, 16), 7, dtype=torch.uint8)
    images.normalise(pixels, Preprocessing())
    assert (pixels == 7).all()
