"""A frozen backbone and unchanging pictures give the same features in every epoch: compute them once."""

import copy
import logging
import time

import torch
from torch import nn

from image_classifier import networks
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.sources import Batch, FeatureSource, PictureSource

logger = logging.getLogger(__name__)


def stand_in(parameters: Hyperparameters, network: nn.Module) -> bool:
    """Whether features may stand in for pictures without changing what is learnt."""
    unchanging = parameters.freeze_backbone and parameters.augmentation in ("none", "light")
    return unchanging and networks.linear_head(network, parameters.architecture) is not None


def extract(
    network: nn.Module, architecture: str, source: PictureSource, evaluator: Evaluator, label: str
) -> FeatureSource:
    """Run everything but the head over the pictures; the network is not changed.

    Pictures with `light` augmentation have two views, the plain and the mirrored one.

    Raises:
        Stopped: the job was asked to stop.
    """
    started = time.monotonic()
    backbone = copy.deepcopy(network)
    networks.replace_head(backbone, architecture, nn.Identity())
    plain, targets = _run(backbone, source, evaluator, label)
    views = [plain]
    if source.augmentation == "light":
        views.append(_run(_Mirrored(backbone), source, evaluator, f"{label}, mirrored")[0])
    seconds = time.monotonic() - started
    count = len(views) * len(targets)
    logger.info("%s: %d pictures in %.1f s (%.0f a second).", label, count, seconds, count / seconds)
    return FeatureSource(torch.stack(views), targets, source.seed)


def _run(module: nn.Module, source: PictureSource, evaluator: Evaluator, label: str) -> Batch:
    features, targets = (torch.cat(part) for part in zip(*evaluator.predict(module, source, label), strict=True))
    return features, targets


class _Mirrored(nn.Module):
    """Shows the network its input mirrored."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.module(inputs.flip(3))  # type: ignore[no-any-return]
