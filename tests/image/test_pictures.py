"""Pictures of every kind are answered as a person sees them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

import doors
from server import Server, serving


@pytest.fixture(scope="module")
def server(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(trained.model, tmp_path_factory.mktemp("pictures") / "serve.log") as server:
        yield server.wait_until_ready()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(image: Image.Image) -> tuple[bytes, Image.Image]:
    return encoded(image.convert("L"), "PNG"), image.convert("L").convert("RGB")


def grey_16_bit(image: Image.Image) -> tuple[bytes, Image.Image]:
    wide = image.convert("L").convert("I").point(lambda value: value * 257)
    return encoded(wide.convert("I;16"), "PNG"), image.convert("L").convert("RGB")


def grey_16_bit_tiff(image: Image.Image) -> tuple[bytes, Image.Image]:
    wide = image.convert("L").convert("I").point(lambda value: value * 257)
    return encoded(wide.convert("I;16"), "TIFF"), image.convert("L").convert("RGB")


def one_bit(image: Image.Image) -> tuple[bytes, Image.Image]:
    return encoded(image.convert("1"), "PNG"), image.convert("1").convert("RGB")


def cmyk_tiff(image: Image.Image) -> tuple[bytes, Image.Image]:
    return encoded(image.convert("CMYK"), "TIFF"), image.convert("CMYK").convert("RGB")


def cmyk_jpeg(image: Image.Image) -> tuple[bytes, Image.Image]:
    data = encoded(image.convert("CMYK"), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == "CMYK"
        return data, stored.convert("RGB")


def opaque(image: Image.Image) -> tuple[bytes, Image.Image]:
    return encoded(image.convert("RGBA"), "PNG"), image


def half_transparent(image: Image.Image) -> tuple[bytes, Image.Image]:
    mask = Image.linear_gradient("L").resize(image.size)
    rgba = image.convert("RGBA")
    rgba.putalpha(mask)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba)
    return encoded(rgba, "PNG"), on_white.convert("RGB")


def palette(image: Image.Image) -> tuple[bytes, Image.Image]:
    few = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    return encoded(few, "PNG"), few.convert("RGB")


def palette_with_a_transparent_colour(image: Image.Image) -> tuple[bytes, Image.Image]:
    few = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    data = encoded(few, "PNG", transparency=few.getpixel((0, 0)))
    white = Image.new("RGB", image.size, "white")
    white.paste(few.convert("RGB"), mask=few.point(lambda i: 0 if i == few.getpixel((0, 0)) else 255, "L"))
    return data, white


def animated(image: Image.Image) -> tuple[bytes, Image.Image]:
    few = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    second = ImageOps.mirror(few)
    return encoded(few, "GIF", save_all=True, append_images=[second], duration=100), few.convert("RGB")


def turned(orientation: int, kind: str) -> Callable[[Image.Image], tuple[bytes, Image.Image]]:
    def make(image: Image.Image) -> tuple[bytes, Image.Image]:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(image, kind, exif=exif)
        with Image.open(io.BytesIO(data)) as stored:
            return data, ImageOps.exif_transpose(stored).convert("RGB")

    make.__name__ = f"orientation_{orientation}_{kind.lower()}"
    return make


VARIANTS = [
    grey, grey_16_bit, grey_16_bit_tiff, one_bit, cmyk_tiff, cmyk_jpeg, opaque, half_transparent, palette,
    palette_with_a_transparent_colour, animated, *(turned(number, "PNG") for number in range(2, 9)),
    turned(6, "JPEG"), turned(3, "WEBP"), turned(8, "TIFF"),
]  # fmt: skip


@pytest.fixture(scope="module")
def uneven(pictures: Path) -> Image.Image:
    """A picture that looks different after every turn: three drawings beside each other, one of them dark."""
    first, second, third = (sorted((pictures / "test").glob("*/*"))[i] for i in (0, 7, 13))
    whole = Image.new("RGB", (96, 128))
    for place, path in {(0, 0): first, (40, 30): second, (10, 70): third}.items():
        with Image.open(path) as part:
            whole.paste(part, place)
    return whole


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_pictures_of_every_kind_are_answered_as_a_person_sees_them(
    variant: Callable[[Image.Image], tuple[bytes, Image.Image]], uneven: Image.Image, server: Server
) -> None:
    data, as_seen = variant(uneven)
    verbose = {"Accept": "application/json;verbose"}
    answer = server.invoke(data, "application/octet-stream", **verbose)
    expected = server.invoke(encoded(as_seen, "PNG"), "image/png", **verbose)
    assert (answer.status, expected.status) == (200, 200)
    assert answer.json["topk_indices"] == expected.json["topk_indices"]
    assert answer.json["probabilities"] == pytest.approx(expected.json["probabilities"], abs=1e-5)
