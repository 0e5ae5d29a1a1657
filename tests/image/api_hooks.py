"""What schemathesis must know to send real pictures: see test_formats.py."""

import base64
import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image

from image_classifier.serving import formats


def encoded(colour: tuple[int, int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(file, kind)
    return file.getvalue()


COLOURS = st.tuples(*[st.integers(0, 255)] * 3)
PICTURES = st.builds(encoded, COLOURS, st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]))
BASE64 = PICTURES.map(lambda picture: base64.b64encode(picture).decode())

schemathesis.openapi.format("byte", BASE64)
schemathesis.openapi.format("binary", PICTURES)
for name in formats.PICTURES:
    schemathesis.openapi.media_type(name, PICTURES)
for name in formats.LINES:
    lines = st.lists(BASE64.map(lambda text: f'{{"b64": "{text}"}}'), min_size=1, max_size=4)
    schemathesis.openapi.media_type(name, lines.map("\n".join).map(str.encode))
