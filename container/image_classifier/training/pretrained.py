"""Where pretrained weights come from: the `pretrained` channel, the image, torchvision's download, in that order."""

import logging
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from image_classifier import artifact, networks
from image_classifier.errors import UserError
from image_classifier.training.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt")
DOWNLOAD_TIMEOUT = 20  # seconds to the first byte: a job without a network must not hang


def make_network(chosen: Hyperparameters, num_classes: int, channel: Path | None, baked: Path) -> nn.Module:
    """The network that a job begins with: pretrained and frozen as far as was asked for. See `find`."""
    torch.manual_seed(chosen.seed)  # the new head's random weights
    network = networks.build(chosen.architecture, num_classes)
    if chosen.pretrained:
        weights, source = find(chosen.architecture, channel, baked)
        networks.load_backbone(network, chosen.architecture, weights, source)
    if chosen.freeze_backbone:
        networks.freeze_backbone(network, chosen.architecture)
    return network


def find(architecture: str, channel: Path | None, baked: Path) -> tuple[Mapping[str, torch.Tensor], str]:
    """Find the weights of an architecture.

    Args:
        architecture: torchvision's name.
        channel: folder of the `pretrained` channel, when the job has one.
        baked: folder of weights inside the image.

    Returns:
        The state dictionary, and a description of its source.

    Raises:
        UserError: the weights cannot be had; names the three ways to supply them.
    """
    tried = []
    for place, folder in (("the `pretrained` channel", channel), ("the image", baked)):
        path = _weights_file(folder, architecture) if folder else None
        if path:
            logger.info("Pretrained weights: taken from %s (%s).", place, path)
            return artifact.read_weights(path), str(path)
        tried.append(f"{place}: {'no weights of ' + architecture if folder and folder.is_dir() else 'not there'}")
        logger.info("Pretrained weights: %s.", tried[-1])
    try:
        return _download(architecture)
    except OSError as error:
        reason = getattr(error, "reason", error)
        tried.append(f"download: failed ({reason})")
    raise UserError(
        f"Pretrained weights of {architecture} are not to be had ({'; '.join(tried)}). "
        f"Supply them in one of three ways: a channel named `pretrained` with a file such as {architecture}.pth; "
        "a file in docker/weights/ when the image is built; or a network for torchvision's download. "
        "Or start from random weights with pretrained=false and freeze_backbone=false."
    )


def _weights_file(folder: Path, architecture: str) -> Path | None:
    """The one file of weights in the folder; among several, the one whose name begins with the architecture's."""
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and not path.name.startswith("."))
    named = [path for path in files if _belongs(path.name, architecture)]
    if len(named) > 1:
        raise UserError(
            f"{folder} holds several weights of {architecture}: {', '.join(p.name for p in named)}; keep one."
        )
    if named:
        return named[0]
    # a file that names no architecture at all, such as model.safetensors of an earlier job
    anonymous = [path for path in files if path.stem in ("model", "weights", "pytorch_model")]
    return anonymous[0] if len(anonymous) == 1 and len(files) == 1 else None


def _belongs(name: str, architecture: str) -> bool:
    """`resnet50-11ad3fa6.pth` belongs to resnet50, `resnet50_v2.pth` not to resnet5."""
    rest = name.removeprefix(architecture)
    return rest != name and rest[0] in "-."


def _download(architecture: str) -> tuple[Mapping[str, torch.Tensor], str]:
    choices = models.get_model_weights(architecture)
    weights = getattr(choices, "IMAGENET1K_V1", choices.DEFAULT)  # V1 features transfer better than V2's to a new head
    logger.info("Pretrained weights: downloading %s.", weights.url)
    try:
        state = _fetch(weights.url)
    except urllib.error.URLError:
        raise
    except RuntimeError as error:  # torch: the file's hash is wrong
        raise OSError(str(error)) from error
    return state, weights.url


def _fetch(url: str) -> Mapping[str, torch.Tensor]:
    import socket  # only here is a network touched

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return dict(torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True))
    finally:
        socket.setdefaulttimeout(before)
