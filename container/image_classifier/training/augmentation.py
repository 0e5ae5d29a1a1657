"""Random views of a picture.

Every draw is a function of (seed, epoch, picture), so a resumed job sees the same views. They are made picture by
picture with Pillow, in the decoding threads: an affine grid of torch over a uint8 batch takes two to four times as long
on CPU cores. See tests/benchmarks/views.md.
"""

import math
import random
from typing import Literal

from PIL import Image, ImageEnhance

from image_classifier.images import Preprocessing, centre_crop

Kind = Literal["none", "light", "standard"]


_SPARE = 1.25  # a random crop takes a part of the picture, which should not have to be enlarged much


def prepare(image: Image.Image, kind: Kind, preprocessing: Preprocessing) -> Image.Image:
    """What is the same for all views of an upright RGB picture: the centre crop, or a picture of moderate size."""
    if kind != "standard":
        return centre_crop(image, preprocessing)
    scale = _SPARE * preprocessing.short_side / min(image.size)
    if scale >= 1:
        return image
    size = (round(scale * image.width), round(scale * image.height))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def augment(image: Image.Image, kind: Kind, preprocessing: Preprocessing, draw: random.Random) -> Image.Image:
    """Make one random view, image_size x image_size, of what `prepare` gave."""
    view = _colour(_random_crop(image, preprocessing.image_size, draw), draw) if kind == "standard" else image
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if kind != "none" and mirrors(draw) else view


def draws(seed: int, epoch: int, row: int) -> random.Random:
    """The source of all draws for one view of one picture."""
    return random.Random(f"{seed}-{epoch}-{row}")


def mirrors(draw: random.Random) -> bool:
    """Whether this view is mirrored."""
    return draw.random() < 0.5


def _random_crop(image: Image.Image, size: int, draw: random.Random) -> Image.Image:
    """Crop 25 to 100 % of the area at an aspect ratio of 3:4 to 4:3 (Szegedy et al. 2015, with a milder area)."""
    for _ in range(10):
        area = image.width * image.height * draw.uniform(0.25, 1.0)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if width <= image.width and height <= image.height:
            break
    else:
        width = height = min(image.size)
    left, top = draw.uniform(0, image.width - width), draw.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _colour(image: Image.Image, draw: random.Random) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(draw.uniform(0.8, 1.2))
    return image
