"""A frozen backbone and unchanging pictures give the same features in every epoch: compute them once."""

import copy
import logging
import time
from dataclasses import dataclass

import torch
from torch import nn

from image_classifier import networks
from image_classifier.training import feature_store
from image_classifier.training.engine import fastest
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.sources import FeatureSource, PictureSource

logger = logging.getLogger(__name__)


def stand_in(parameters: Hyperparameters, network: nn.Module) -> bool:
    """Whether features may stand in for pictures without changing what is learnt."""
    unchanging = parameters.freeze_backbone and parameters.augmentation in ("none", "light")
    return unchanging and networks.linear_head(network, parameters.architecture) is not None


@dataclass
class Extractor:
    """Everything but the head of a network, as it is now; the network is not changed."""

    network: nn.Module
    architecture: str
    evaluator: Evaluator
    pictures: int  # of the largest pass: they decide what runs it, whichever passes an earlier run has kept
    store: FeatureStore | None = None

    def __post_init__(self) -> None:
        self._backbone = copy.deepcopy(self.network)
        networks.replace_head(self._backbone, self.architecture, nn.Identity())
        self._engine: nn.Module | None = None

    def extract(self, source: PictureSource, label: str) -> FeatureSource:
        """Run the backbone over the pictures, or take what an earlier run kept.

        Pictures with `light` augmentation have two views, the plain and the mirrored one.

        Raises:
            Stopped: the job was asked to stop.
            UserError: too many pictures cannot be used.
        """
        world = source.world
        keeper = self.store if world.is_main else None
        name = self._name(source) if keeper else ""
        kept = world.from_main(keeper.load(name) if keeper else None)
        if kept is None:
            kept = self._compute(source, label)
            if keeper:
                keeper.save(name, kept)
        else:
            logger.info("%s: %d pictures, kept from an earlier run (%s).", label, len(kept["rows"]), name)
        rows = kept["rows"].tolist()
        for row in set(range(len(source))).difference(rows):
            source.read(row)  # once more, so that this job's log names it and counts it
        return FeatureSource(kept["features"], torch.tensor(source.split.targets)[rows], source.seed, world)

    def _name(self, source: PictureSource) -> str:
        facts = (source.preprocessing, source.max_pixels, views(source), torch.__version__, "rows, reduced")
        return f"{self.architecture}-{feature_store.key(self._backbone.state_dict(), source.split.paths, *facts)}"

    def _compute(self, source: PictureSource, label: str) -> dict[str, torch.Tensor]:
        """Features [views, n, features] of rows [n]; every process runs its share, and all get the whole."""
        started = time.monotonic()
        module = _Mirrored(self._fastest(source)) if views(source) == 2 else _Plain(self._fastest(source))
        parts = [part for part, _ in self.evaluator.world.all_of(self.evaluator.predict(module, source, label))]
        made = torch.cat(parts).transpose(0, 1).contiguous()
        source.rejects.share(source.world)
        rows = [row for row, path in enumerate(source.split.paths) if path not in source.rejects.found]
        seconds, count = time.monotonic() - started, len(made) * len(rows)
        logger.info("%s: %d pictures in %.1f s (%.0f a second).", label, count, seconds, count / seconds)
        return {"features": made, "rows": torch.tensor(rows)}

    def _fastest(self, source: PictureSource) -> nn.Module:
        if self._engine is None:
            side, device = source.preprocessing.image_size, self.evaluator.device
            self._engine = fastest(self._backbone, side, self.pictures, device)
        return self._engine


def views(source: PictureSource) -> int:
    """Views of each picture that features are computed of."""
    return 2 if source.augmentation == "light" else 1


class _Plain(nn.Module):
    """Shows a module its input as it is: [n, 1, features]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        plain: torch.Tensor = self.module(inputs)
        return plain.unsqueeze(1)


class _Mirrored(_Plain):
    """And mirrored, too: [n, 2, features]."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(inputs), super().forward(inputs.flip(3))], dim=1)
