"""Where batches come from: decoded pictures, or features computed once.

Pictures are decoded by threads (Pillow lets go of Python's lock), so nothing depends on the size of /dev/shm.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image

from image_classifier import images
from image_classifier.images import ImageError, Preprocessing
from image_classifier.training.augmentation import Kind, augment, draws, mirrors, prepare
from image_classifier.training.costs import Costs
from image_classifier.training.dataset import Split
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.pixel_cache import PixelCache
from image_classifier.training.reading import cut, in_order
from image_classifier.training.rejects import Rejects

Batch = tuple[torch.Tensor, torch.Tensor]  # network input, targets (int64)


class Source(Protocol):
    """Gives batches; the same ones for the same epoch, whenever asked. Of several processes each gets its share."""

    def __len__(self) -> int:
        """Number of samples, of all processes."""

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        """Give one pass of batches.

        Args:
            batch_size: samples in a batch.
            epoch: shuffles (and augments) as this epoch does; None keeps the order and the plain view.
            skip: leaves out the first batches, for a job that resumes in the middle of an epoch.
        """


def plan(count: int, batch_size: int, epoch: int | None, seed: int, world: World = ALONE) -> list[list[int]]:
    """Split sample numbers into batches, and give this process's share: of each batch, or of the samples in order.

    A last batch of one joins its neighbour: BatchNorm cannot learn from one.
    """
    if epoch is None:
        return cut(world.share(range(count)), batch_size)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    batches = cut(torch.randperm(count, generator=generator).tolist(), batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = batches[-1] + last
    return [list(world.share(batch)) for batch in batches]


def moved(batch: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The batch on a device; to a GPU it goes from pinned memory, while that computes and this thread goes on."""
    return batch if device.type == "cpu" else batch.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class PictureSource:
    """Pictures of a split, decoded on the fly.

    Gives float32 [n, 3, image_size, image_size], normalised, where this process computes. A picture that cannot be
    decoded is missing from its batch, in every pass; a batch may so become empty.
    """

    split: Split
    preprocessing: Preprocessing
    max_pixels: int
    threads: int
    seed: int = 0
    augmentation: Kind = "none"
    world: World = ALONE
    rejects: Rejects = field(default_factory=lambda: Rejects(limit=0))
    cache: PixelCache = field(default_factory=PixelCache)
    costs: Costs = field(default_factory=Costs)

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        """See Source."""
        targets = torch.tensor(self.split.targets)
        planned = plan(len(self), batch_size, epoch, self.seed, self.world)[skip:]
        for rows, pixels in zip(planned, self.costs.waited(self._decoded(planned, epoch)), strict=True):
            good = {row: picture for row, picture in zip(rows, pixels, strict=True) if picture is not None}
            side = self.preprocessing.image_size
            batch = torch.stack([*good.values()]) if good else torch.empty(0, 3, side, side, dtype=torch.uint8)
            self.costs.shown(len(good))
            yield images.normalise(moved(batch, self.world.device), self.preprocessing), targets[list(good)]

    def _decoded(self, planned: list[list[int]], epoch: int | None) -> Iterator[list[torch.Tensor | None]]:
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            yield from in_order(pool, lambda row: self._timed(row, epoch), planned)

    def _timed(self, row: int, epoch: int | None) -> torch.Tensor | None:
        started = time.time()
        pixels = self.read(row, epoch)
        self.costs.decoded(started)
        return pixels

    def read(self, row: int, epoch: int | None = None) -> torch.Tensor | None:
        """Decode one picture: uint8 [3, image_size, image_size]; None when it cannot be used.

        Raises:
            UserError: too many cannot.
        """
        path, kind = self.split.paths[row], "none" if epoch is None else self.augmentation
        if path in self.rejects.found:  # a disk that failed once may answer now: every pass has the same pictures
            return None
        make = partial(self._prepared, path, kind)
        try:
            image = self.cache.get((path, kind == "standard"), make)
        except ImageError as error:
            self.rejects.add(path, str(error).rstrip("."))
            return None
        if epoch is None:
            return images.to_tensor(image)
        return images.to_tensor(augment(image, kind, self.preprocessing, draws(self.seed, epoch, row)))

    def _prepared(self, path: Path, kind: Kind) -> Image.Image:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError(f"The file cannot be read ({error.strerror or error}).") from None
        return prepare(images.decode(content, self.max_pixels, self.preprocessing), kind, self.preprocessing)


@dataclass(frozen=True)
class FeatureSource:
    """Features that a frozen backbone gave once: float32 [views, n, features].

    The first view is the plain one; a second, the mirrored one, is drawn as often as the picture would be mirrored.
    """

    features: torch.Tensor
    targets: torch.Tensor
    seed: int = 0
    world: World = ALONE

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        """See Source."""
        for rows in plan(len(self), batch_size, epoch, self.seed, self.world)[skip:]:
            views = [self._view(row, epoch) for row in rows]
            yield self.features[views, rows], self.targets[rows]

    def _view(self, row: int, epoch: int | None) -> int:
        if epoch is None or len(self.features) == 1:
            return 0
        return int(mirrors(draws(self.seed, epoch, row)))
