"""A frozen backbone and unchanging pictures give the same features in every epoch: compute them once."""

import copy
import logging
import time

import torch
from torch import nn

from image_classifier import networks
from image_classifier.training import feature_store
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.folding import folded
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.sources import Batch, FeatureSource, PictureSource

logger = logging.getLogger(__name__)


def stand_in(parameters: Hyperparameters, network: nn.Module) -> bool:
    """Whether features may stand in for pictures without changing what is learnt."""
    unchanging = parameters.freeze_backbone and parameters.augmentation in ("none", "light")
    return unchanging and networks.linear_head(network, parameters.architecture) is not None


def extract(
    network: nn.Module,
    architecture: str,
    source: PictureSource,
    evaluator: Evaluator,
    label: str,
    store: FeatureStore | None = None,
) -> FeatureSource:
    """Run everything but the head over the pictures, or take what an earlier run kept; the network is not changed.

    Pictures with `light` augmentation have two views, the plain and the mirrored one.

    Raises:
        Stopped: the job was asked to stop.
    """
    world = source.world
    backbone = copy.deepcopy(network)
    networks.replace_head(backbone, architecture, nn.Identity())
    keeper = store if world.is_main else None
    name = _name(backbone, architecture, source) if keeper else ""
    kept = world.from_main(keeper.load(name) if keeper else None)
    if kept is None:
        features, targets = _compute(backbone, source, evaluator, label)
        if keeper:
            keeper.save(name, {"features": features, "targets": targets})
        return FeatureSource(features, targets, source.seed, world)
    logger.info("%s: %d pictures, kept from an earlier run (%s).", label, len(kept["targets"]), name)
    return FeatureSource(kept["features"], kept["targets"], source.seed, world)


def _name(backbone: nn.Module, architecture: str, source: PictureSource) -> str:
    views = 2 if source.augmentation == "light" else 1
    facts = (source.preprocessing, source.max_pixels, source.split.targets, views, torch.__version__)
    return f"{architecture}-{feature_store.key(backbone.state_dict(), source.split.paths, *facts)}"


def _compute(backbone: nn.Module, source: PictureSource, evaluator: Evaluator, label: str) -> Batch:
    """Features [views, n, features] and targets [n]; every process runs its share, and all get the whole."""
    started = time.monotonic()
    module = _Views(folded(backbone), mirrored=source.augmentation == "light")
    batches = evaluator.world.all_of(evaluator.predict(module, source, label))
    parts, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    views = parts.transpose(0, 1).contiguous()
    seconds, count = time.monotonic() - started, len(views) * len(targets)
    logger.info("%s: %d pictures in %.1f s (%.0f a second).", label, count, seconds, count / seconds)
    return views, targets


class _Views(nn.Module):
    """Shows the network its input as it is, and perhaps mirrored: [n, views, features]."""

    def __init__(self, module: nn.Module, mirrored: bool) -> None:
        super().__init__()
        self.module, self.mirrored = module, mirrored

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        views = [inputs, inputs.flip(3)] if self.mirrored else [inputs]
        return torch.stack([self.module(view) for view in views], dim=1)
