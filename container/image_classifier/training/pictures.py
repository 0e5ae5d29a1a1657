"""What all sources of one job's pictures have in common."""

import logging
from dataclasses import dataclass

from image_classifier import machine
from image_classifier.images import Preprocessing
from image_classifier.training.costs import Costs
from image_classifier.training.dataset import Split
from image_classifier.training.distributed import World
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.pixel_cache import PixelCache
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import PictureSource

logger = logging.getLogger(__name__)

STREAMING = 8  # threads, at least, that decode what comes over the network


def decoders(chosen: Hyperparameters, cores: int, streamed: bool) -> int:
    """Threads that decode pictures in this process: more than cores, where they wait for the network."""
    if chosen.num_workers or not streamed:
        return chosen.num_workers or cores
    count = max(cores, STREAMING)
    logger.info("FastFile mode: %d threads decode pictures, as each waits for the network; see num_workers.", count)
    return count


@dataclass
class Pictures:
    """Makes the sources of a job."""

    chosen: Hyperparameters
    max_pixels: int
    threads: int  # that decode
    world: World
    rejects: Rejects
    costs: Costs

    def __post_init__(self) -> None:
        self.cache = PixelCache(machine.free_memory() // (2 * self.world.local_size))  # the network wants memory too

    def of(self, split: Split, augmented: bool = False, cached: bool = False) -> PictureSource:
        """The pictures of a split; those that are wanted again should be cached."""
        return PictureSource(
            split=split,
            preprocessing=Preprocessing(image_size=self.chosen.image_size),
            max_pixels=self.max_pixels,
            threads=self.threads,
            seed=self.chosen.seed,
            augmentation=self.chosen.augmentation if augmented else "none",
            world=self.world,
            rejects=self.rejects,
            cache=self.cache if cached else PixelCache(),
            costs=self.costs,
        )
