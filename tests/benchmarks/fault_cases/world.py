"""What a case trains on and with: drawn pictures, small networks, and the product's own training loop."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

import sample_pictures
from image_classifier.images import Preprocessing
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.loop import Trainer
from image_classifier.training.sources import Batch, plan

CLASSES = tuple(sample_pictures.CLASSES)
SIDE = 32
Action = Callable[["Setup", Trainer], None]


class Narrow(ResNet):
    """ResNet-10 with a quarter of the channels: the same names and blocks, some milliseconds a step."""

    def __init__(self, classes: int) -> None:
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=classes)
        self.fc = nn.Linear(128, classes)

    def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        return super()._make_layer(block, planes // 4, blocks, stride, dilate)


def plain(
    classes: int,
    depth: int = 4,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] = lambda _: nn.Identity(),
) -> nn.Module:
    """Convolutions in a row, as in VGG; without normalization unless one is given."""
    layers: list[nn.Module] = []
    wide = 3
    for number in range(depth):
        layers += [nn.Conv2d(wide, 24, 3, padding=1), norm(24), activation()]
        wide = 24
        if number < 3:
            layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * wide, classes))
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    return network


def build(architecture: str, classes: int) -> nn.Module:
    """A network by name, its ReLUs not in place so that their inputs can be recorded."""
    own: dict[str, Callable[[int], nn.Module]] = {
        "narrow": Narrow,
        "plain": plain,
        "tanh": lambda classes: plain(classes, 5, nn.Tanh, nn.BatchNorm2d),
        "grouped": lambda classes: plain(classes, 5, nn.SiLU, lambda wide: nn.GroupNorm(4, wide)),
    }
    network: nn.Module = (
        own[architecture](classes)
        if architecture in own
        else models.get_model(architecture, weights=None, num_classes=classes)
    )
    for part in network.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return network


@lru_cache
def pictures(count: int, salt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn pictures, uint8 [count x classes, 3, SIDE, SIDE], and their labels."""
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        dice = random.Random(f"{salt}/{name}")
        for _ in range(count):
            rows = sample_pictures.draw(name, dice)[:: sample_pictures.SIZE // SIDE]
            pixels = np.frombuffer(b"".join(rows), np.uint8).reshape(SIDE, sample_pictures.SIZE, 3)
            images.append(pixels[:, :: sample_pictures.SIZE // SIDE].transpose(2, 0, 1))
            labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


@dataclass
class Tensors:
    """A source of batches from memory."""

    inputs: torch.Tensor
    targets: torch.Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        for rows in plan(len(self), batch_size, epoch, self.seed)[skip:]:
            yield self.inputs[rows], self.targets[rows]


@dataclass
class Setup:
    """One run before it starts; a fault changes it, or what is built from it."""

    seed: int
    architecture: str = "narrow"
    classes: int = len(CLASSES)
    per_class: int = 32
    epochs: int = 6
    choices: dict[str, Any] = field(default_factory=dict)
    after: list[Action] = field(default_factory=list)  # done to the trainer before it starts
    prepare: list[Callable[["Setup"], None]] = field(default_factory=list)  # done to data and network
    loading: Any = None  # how the machine is used, of machine.Loading; None where that is not looked at
    train: Tensors = field(init=False)
    validation: Tensors = field(init=False)
    network: nn.Module = field(init=False)

    def make(self) -> None:
        """Draw the pictures and build the network."""
        torch.manual_seed(self.seed)
        self.train = self._source(self.per_class, "train")
        self.validation = self._source(16, "valid")
        self.network = build(self.architecture, self.classes)
        for action in self.prepare:
            action(self)

    def chosen(self) -> Hyperparameters:
        """The job's hyperparameters."""
        values = {
            "pretrained": False,
            "freeze_backbone": False,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "epochs": self.epochs,
            "image_size": SIDE,
            "seed": self.seed,
            **self.choices,
        }
        return Hyperparameters(**values)

    def _source(self, count: int, split: str) -> Tensors:
        raw, labels = pictures(count, f"{self.seed}/{split}")
        wanted = labels < self.classes
        how = Preprocessing(image_size=SIDE)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (how.mean, how.std))
        return Tensors((raw[wanted] / 255 - mean) / std, labels[wanted], self.seed)
