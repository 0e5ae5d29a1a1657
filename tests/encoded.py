"""Pictures as bytes, for tests."""

import io
from typing import Any

from PIL import Image


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture in an encoded form."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
