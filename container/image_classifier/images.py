"""From bytes to upright RGB pixels to a normalised tensor: the same code for training and serving.

The limits are checked against the header, before any pixel is decoded. torch is imported only by what gives tensors: a
worker with a compiled network starts without it.
"""

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from image_classifier.config import Preprocessing
from image_classifier.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["Preprocessing"]

# What browsers show. Formats with a history of trouble (EPS, PSD, ICO, ...) are never handed to a decoder.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # JPEG opens MPO too
_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG's decoder itself halves a large photo, once or more, as long as so many times the pixels that are wanted are
# left: with 4, 99.2 % of 800 photos kept their first label, with 2, 97.4 % (tests/benchmarks/views.md).
_SPARE = 4
Pixels = NDArray[np.uint8]  # [height, width, 3]


class ImageError(UserError):
    """A picture that cannot be used; the message says why."""


def decode(data: bytes, max_pixels: int, wanted: Preprocessing | None = None) -> Image.Image:
    """Decode a picture as a person sees it: upright, 8-bit RGB, transparent parts white, first frame.

    Args:
        data: an encoded picture in one of FORMATS.
        max_pixels: largest width x height that is decoded.
        wanted: what becomes of it: a much larger JPEG may be decoded at a half, a quarter or an eighth of its size.

    Raises:
        ImageError: not a picture, damaged, or too large.
    """
    if not data:
        raise ImageError("The picture is empty (0 bytes).")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image, max_pixels)
        if wanted:
            side = math.ceil(_SPARE * wanted.short_side)
            image.draft(None, (side, side))  # does nothing to other formats
        image.load()  # turns a TIFF upright and takes the tag off it, so ask for the orientation after it
        upright = _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb if upright is None else rgb.transpose(upright)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"The picture is larger than the limit of {max_pixels} pixels.") from None
    except UnidentifiedImageError:
        raise ImageError(f"The data is not a picture in a supported format ({', '.join(FORMATS)}).") from None
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error on damaged data
        raise ImageError(f"The picture is damaged and cannot be decoded ({error}).") from None


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"The picture has {image.width} x {image.height} pixels; the limit is {max_pixels} pixels in all."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit scaled to 8, transparency composited on white."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would be a copy


def _from_16_bit(image: Image.Image) -> Image.Image:
    # convert("RGB") would clip 16-bit grey at 255 and show a white picture
    grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF: viewers show such a picture as it lies, and so do we
        return 1


def centre_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Crop the centre square and scale it to the network's size, in one resampling step.

    Only the crop is resampled, so a picture of 1 x 20000 pixels costs no more than any other.
    """
    side = min(image.size) * preprocessing.crop_ratio
    left, top = (image.width - side) / 2, (image.height - side) / 2
    size = (preprocessing.image_size, preprocessing.image_size)
    return image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def to_tensor(picture: "Image.Image | Pixels") -> "torch.Tensor":
    """Turn an RGB picture into a uint8 tensor of shape [3, height, width]."""
    import torch

    return torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def read(data: bytes, preprocessing: Preprocessing, max_pixels: int) -> Pixels:
    """Bytes to the network's pixels: uint8, [image_size, image_size, 3]. What is evaluated and served is this.

    Raises:
        ImageError: not a picture, damaged, or too large.
    """
    return np.asarray(centre_crop(decode(data, max_pixels, preprocessing), preprocessing))


def normalise(pixels: "torch.Tensor", preprocessing: Preprocessing) -> "torch.Tensor":
    """Turn a uint8 batch [n, 3, h, w] into the network's float32 input, channels last in memory."""
    import torch

    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1) * 255
    return pixels.float().sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
