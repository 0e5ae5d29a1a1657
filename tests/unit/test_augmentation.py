"""Random views: repeatable, of the right size, and of the picture."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_classifier.images import Preprocessing, centre_crop
from image_classifier.training.augmentation import augment, prepare

SMALL = Preprocessing(image_size=32)


def scene() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))


def view_of(image: Image.Image, kind: str, draw: random.Random) -> Image.Image:
    return augment(prepare(image, kind, SMALL), kind, SMALL, draw)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["none", "light", "standard"])
def test_the_same_draw_gives_the_same_view(kind: str) -> None:
    views = [view_of(scene(), kind, random.Random("1-2-3")).tobytes() for _ in range(2)]
    assert views[0] == views[1]


def test_none_is_the_centre_crop() -> None:
    view = view_of(scene(), "none", random.Random(0))
    assert view.tobytes() == centre_crop(scene(), SMALL).tobytes()


def test_light_shows_the_crop_and_its_mirror_image() -> None:
    plain = centre_crop(scene(), SMALL)
    mirrored = plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    views = {view_of(scene(), "light", random.Random(seed)).tobytes() for seed in range(20)}
    assert views == {plain.tobytes(), mirrored.tobytes()}


def test_standard_shows_another_view_each_time() -> None:
    views = {view_of(scene(), "standard", random.Random(seed)).tobytes() for seed in range(20)}
    assert len(views) == 20


def test_standard_keeps_the_picture_recognisable() -> None:
    red = Image.new("RGB", (60, 40), (200, 10, 10))
    for seed in range(20):
        mean = np.asarray(view_of(red, "standard", random.Random(seed))).mean(axis=(0, 1))
        assert mean[0] > 120
        assert mean[1:].max() < 60


def test_the_picture_itself_is_not_changed() -> None:
    image = scene()
    view_of(image, "standard", random.Random(0))
    assert image.tobytes() == scene().tobytes()


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_any_shape_gives_the_networks_size(width: int, height: int, seed: int) -> None:
    view = view_of(Image.new("RGB", (width, height)), "standard", random.Random(seed))
    assert (view.size, view.mode) == ((32, 32), "RGB")


@pytest.mark.parametrize(
    ("size", "wanted"), [((4000, 3000), (61, 46)), ((300, 40), (300, 40)), ((20, 9000), (20, 9000))]
)
def test_a_large_picture_is_made_moderate_before_it_is_cropped(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert prepare(Image.new("RGB", size), "standard", SMALL).size == wanted
