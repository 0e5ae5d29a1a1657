"""Batches: every sample once, the same order whenever asked, wherever a job resumes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier import images
from image_classifier.errors import UserError
from image_classifier.images import Preprocessing
from image_classifier.training.dataset import Split
from image_classifier.training.distributed import World
from image_classifier.training.pixel_cache import PixelCache
from image_classifier.training.reading import AHEAD
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import FeatureSource, PictureSource, plan

Make = Callable[..., Path]


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 300),
    batch_size=st.integers(1, 70),
    epoch=st.none() | st.integers(1, 1000),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_plan_covers_every_sample_exactly_once(count: int, batch_size: int, epoch: int | None, seed: int) -> None:
    batches = plan(count, batch_size, epoch, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(count))
    assert all(len(batch) <= batch_size + 1 for batch in batches)
    assert plan(count, batch_size, epoch, seed) == batches
    if epoch is None:
        assert [row for batch in batches for row in batch] == list(range(count))


@settings(max_examples=100, deadline=None)
@given(count=st.integers(2, 300), batch_size=st.integers(2, 70), epoch=st.integers(1, 50))
def test_no_batch_to_learn_from_has_a_single_sample(count: int, batch_size: int, epoch: int) -> None:
    assert min(len(batch) for batch in plan(count, batch_size, epoch, 0)) > 1


def test_epochs_and_seeds_shuffle_differently() -> None:
    orders = {tuple(plan(50, 50, epoch, seed)[0]) for epoch in range(1, 6) for seed in range(5)}
    assert len(orders) == 25


@pytest.fixture
def split(tmp_path: Path, folders: Make) -> Split:
    folders(tmp_path, {"amber": 5, "blue": 4})
    paths = tuple(sorted(tmp_path.rglob("*.png")))
    return Split(paths, tuple(int(path.parent.name == "blue") for path in paths))


def source(split: Split, **options: object) -> PictureSource:
    given: dict[str, object] = {"preprocessing": Preprocessing(image_size=32), "max_pixels": 10_000, "threads": 2}
    return PictureSource(split, **{**given, **options})  # type: ignore[arg-type]


def same(a: list[tuple[torch.Tensor, torch.Tensor]], b: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True)
    )


def test_pictures_come_in_order_as_serving_would_read_them(split: Split) -> None:
    read = source(split)
    batches = list(read.batches(4))
    assert [len(targets) for _, targets in batches] == [4, 4, 1]
    assert torch.cat([targets for _, targets in batches]).tolist() == list(split.targets)
    served = [images.read(path.read_bytes(), read.preprocessing, 10_000) for path in split.paths]
    pixels = torch.stack([images.to_tensor(picture) for picture in served])
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), images.normalise(pixels, read.preprocessing))


@pytest.mark.parametrize("augmentation", ["none", "light", "standard"])
@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_skipping_batches_gives_the_rest_of_the_same_epoch(split: Split, augmentation: str, skip: int) -> None:
    read = source(split, augmentation=augmentation, seed=3)
    assert same(list(read.batches(3, epoch=2, skip=skip)), list(read.batches(3, epoch=2))[skip:])


def test_the_number_of_threads_changes_nothing(split: Split) -> None:
    one, four = (source(split, threads=threads, augmentation="standard") for threads in (1, 4))
    assert same(list(one.batches(2, epoch=1)), list(four.batches(2, epoch=1)))


def test_epochs_show_other_views_and_evaluation_shows_the_plain_one(split: Split) -> None:
    read = source(split, augmentation="standard")
    plain = source(split)
    assert not torch.equal(read.read(0, epoch=1), read.read(0, epoch=2))
    assert torch.equal(read.read(0), plain.read(0))


def test_a_bad_picture_is_named_with_what_to_do(split: Split) -> None:
    split.paths[5].write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        list(source(split).batches(4))
    message = str(caught.value)
    assert message.startswith("1 picture cannot be used, and max_bad_pictures=0: ")
    assert "blue/000.png (The data is not a picture" in message
    assert message.endswith("Remove or replace them, or raise the limit.")


def test_a_picture_beyond_the_pixel_limit_is_named(split: Split) -> None:
    with pytest.raises(UserError, match=r"amber/000\.png \(The picture has 24 x 20 pixels; the limit is 100"):
        list(source(split, max_pixels=100).batches(4))


@pytest.mark.parametrize("epoch", [None, 1, 2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_bad_pictures_below_the_limit_are_left_out_of_every_pass(
    split: Split, epoch: int | None, batch_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    bad = (1, 5)
    for row in bad:
        split.paths[row].write_bytes(b"no picture")
    read = source(split, rejects=Rejects(limit=2))
    for _ in range(2):
        batches = list(read.batches(batch_size, epoch))
        planned = plan(len(split), batch_size, epoch, read.seed)
        assert len(batches) == len(planned)
        for (inputs, targets), rows in zip(batches, planned, strict=True):
            assert targets.tolist() == [split.targets[row] for row in rows if row not in bad]
            assert inputs.shape == (len(targets), 3, 32, 32)
    assert set(read.rejects.found) == {split.paths[row] for row in bad}
    assert caplog.text.count("Left out") == 2, "each is named once"


def test_a_picture_that_could_not_be_read_once_is_missing_from_every_later_pass(split: Split) -> None:
    read, gone = source(split, rejects=Rejects(limit=1)), split.paths[1]
    content = gone.read_bytes()
    gone.unlink()
    first = list(read.batches(4))
    gone.write_bytes(content)
    assert same(first, list(read.batches(4)))
    assert read.rejects.found == {gone: "The file cannot be read (No such file or directory)"}


@pytest.mark.parametrize("augmentation", ["none", "light", "standard"])
@pytest.mark.parametrize("budget", [0, 4000, 10**6])
def test_what_is_kept_in_memory_changes_no_picture(split: Split, augmentation: str, budget: int) -> None:
    cache = PixelCache(budget)
    keeping, plain = source(split, augmentation=augmentation, cache=cache), source(split, augmentation=augmentation)
    for epoch in (1, None, 2, 1):
        assert same(list(keeping.batches(4, epoch)), list(plain.batches(4, epoch)))
    assert cache.used <= budget
    assert (cache.used > 0) == (budget > 0)


def test_a_picture_that_is_kept_is_decoded_once(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda *args: calls.append(1) or decode(*args))
    read = source(split, augmentation="light", cache=PixelCache(10**6))
    for epoch in (1, 2, None):
        list(read.batches(4, epoch))
    assert len(calls) == len(split)


def test_decoding_keeps_a_bounded_lead(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = source(split), []
    monkeypatch.setattr(PictureSource, "read", lambda _self, row, _epoch: seen.append(row) or torch.zeros(3, 32, 32))
    batches = read.batches(1)
    next(batches)
    time.sleep(0.2)
    assert len(seen) <= AHEAD + 1
    batches.close()


def test_a_reader_that_stops_early_leaves_no_thread(split: Split) -> None:
    batches = source(split).batches(1)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_features_come_in_the_planned_order() -> None:
    features = FeatureSource(torch.arange(7.0).view(1, 7, 1), torch.arange(7), seed=5)
    order = [row for batch in plan(7, 3, 2, 5) for row in batch]
    batches = list(features.batches(3, epoch=2))
    assert torch.cat([targets for _, targets in batches]).tolist() == order
    assert torch.cat([inputs for inputs, _ in batches]).squeeze(1).tolist() == order
    assert same(list(features.batches(3, epoch=2, skip=1)), batches[1:])
    assert len(features) == 7


class Elsewhere(World):
    """A process that computes on a device whose memory is not the CPU's."""

    @property
    def device(self) -> torch.device:
        return torch.device("meta")


def test_pixels_go_to_a_gpu_as_bytes_from_pinned_memory_and_become_numbers_there(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[torch.dtype] = []

    def pin(batch: torch.Tensor) -> torch.Tensor:
        pinned.append(batch.dtype)
        return batch

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batches = list(source(split, world=Elsewhere()).batches(4))
    assert pinned == [torch.uint8] * 3
    for inputs, targets in batches:
        assert (inputs.device.type, inputs.dtype) == ("meta", torch.float32)
        assert inputs.shape == (len(targets), 3, 32, 32)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert targets.device.type == "cpu"
