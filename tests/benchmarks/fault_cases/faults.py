"""Planted faults of data, network, loss and training code. Each says which rules name it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fault_cases.world import Setup, Tensors, plain
from image_classifier.training.loop import Trainer

Plant = Callable[[Setup], None]


@dataclass(frozen=True)
class Case:
    """One kind of run."""

    name: str
    rules: tuple[str, ...]  # any of these names the fault; empty for a healthy run
    plant: Plant


def _choose(**choices: object) -> Plant:
    return lambda setup: setup.choices.update(choices)


def _prepared(action: Plant) -> Plant:
    return lambda setup: setup.prepare.append(action)


def _afterwards(action: Callable[[Setup, Trainer], None]) -> Plant:
    return lambda setup: setup.after.append(action)


def _each_layer(change: Callable[[nn.Module], None]) -> Plant:
    def plant(setup: Setup) -> None:
        with torch.no_grad():
            for part in setup.network.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    change(part)

    return _prepared(plant)


def _inputs(change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    def plant(setup: Setup) -> None:
        for source in (setup.train, setup.validation):
            source.inputs = change(source.inputs)

    return _prepared(plant)


def _raw(inputs: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (inputs * std + mean).clamp(0, 1)


def _shuffle(setup: Setup) -> None:
    generator = torch.Generator().manual_seed(setup.seed)
    setup.train.targets = setup.train.targets[torch.randperm(len(setup.train), generator=generator)]


def _wrong(setup: Setup) -> None:
    """Four of ten labels, in both splits, are drawn anew among the other classes."""
    generator = torch.Generator().manual_seed(setup.seed)
    for source in (setup.train, setup.validation):
        hit = torch.rand(len(source), generator=generator) < 0.4
        other = torch.randint(1, setup.classes, (len(source),), generator=generator)
        source.targets = torch.where(hit, (source.targets + other) % setup.classes, source.targets)


def _one_class(setup: Setup) -> None:
    for source in (setup.train, setup.validation):
        source.targets = torch.zeros_like(source.targets)


def _imbalance(setup: Setup) -> None:
    keep = torch.ones(len(setup.train), dtype=torch.bool)
    for label in range(1, setup.classes):
        keep[(setup.train.targets == label).nonzero().flatten()[3:]] = False
    setup.train = Tensors(setup.train.inputs[keep], setup.train.targets[keep], setup.seed)


def _leak(setup: Setup) -> None:
    """A third of the validation pictures are training pictures."""
    count = len(setup.validation) // 3
    rows = torch.randperm(len(setup.train), generator=torch.Generator().manual_seed(setup.seed))[:count]
    setup.validation.inputs[:count] = setup.train.inputs[rows]
    setup.validation.targets[:count] = setup.train.targets[rows]


def _nan_picture(setup: Setup) -> None:
    setup.train.inputs[7, 0, 3, 3] = float("nan")


def _dead(setup: Setup) -> None:
    with torch.no_grad():
        for part in setup.network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.bias.fill_(-8.0)


def _deep_sigmoid(setup: Setup) -> None:
    setup.network = plain(setup.classes, depth=14, activation=nn.Sigmoid)


def _saturated(setup: Setup) -> None:
    setup.network = plain(setup.classes, depth=4, activation=nn.Tanh)
    with torch.no_grad():
        for part in setup.network.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.mul_(30)


def _freeze(setup: Setup) -> None:
    setup.network.requires_grad_(False)
    setup.network.fc.requires_grad_(True)


def _no_zero_grad(_setup: Setup, trainer: Trainer) -> None:
    trainer.optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]


def _flip(_setup: Setup, trainer: Trainer) -> None:
    for parameter in trainer.module.parameters():
        parameter.register_hook(lambda gradient: -gradient)


def _sum_loss(_setup: Setup, trainer: Trainer) -> None:
    trainer.loss = nn.CrossEntropyLoss(reduction="sum")


def _forgotten(_setup: Setup, trainer: Trainer) -> None:
    """The optimizer was given the head only."""
    group = trainer.optimizer.param_groups[0]
    group["params"] = group["params"][-2:]


def _always_eval(_setup: Setup, trainer: Trainer) -> None:
    trainer.set_mode = trainer.module.eval


def _always_train(_setup: Setup, trainer: Trainer) -> None:
    trainer.module.eval = trainer.module.train  # type: ignore[method-assign]


def _softmax(setup: Setup) -> None:
    setup.network.fc = nn.Sequential(setup.network.fc, nn.Softmax(1))


def _scale(factor: float) -> Callable[[nn.Module], None]:
    return lambda part: part.weight.mul_(factor)


FAULTS = (
    Case(
        "learning rate far too high",
        ("ExplodingTensor", "LossNotDecreasing", "WeightUpdateRatio", "TensorVariance"),
        _choose(learning_rate=5.0, optimizer="sgd"),
    ),
    Case(
        "learning rate too high (adam)",
        ("WeightUpdateRatio", "LossNotDecreasing", "TensorVariance"),
        _choose(learning_rate=0.5),
    ),
    Case("learning rate too low", ("WeightUpdateRatio", "LossNotDecreasing"), _choose(learning_rate=1e-7)),
    Case("all weights zero", ("PoorWeightInitialization", "AllZero"), _each_layer(lambda part: part.weight.zero_())),
    Case("all weights the same", ("PoorWeightInitialization",), _each_layer(lambda part: part.weight.fill_(0.05))),
    Case("huge first weights", ("PoorWeightInitialization", "InitialLoss"), _each_layer(_scale(50))),
    Case("dead ReLU", ("DeadRelu",), _prepared(_dead)),
    Case(
        "deep sigmoid network without normalization",
        ("VanishingGradient", "PoorWeightInitialization", "NotLearning"),
        _prepared(_deep_sigmoid),
    ),
    Case("saturated tanh", ("SaturatedActivation", "PoorWeightInitialization"), _prepared(_saturated)),
    Case("inputs not normalised", ("CheckInputImages",), _inputs(_raw)),
    Case("inputs from 0 to 255", ("CheckInputImages",), _inputs(lambda x: 255 * _raw(x))),
    Case("inputs black", ("CheckInputImages", "AllZero"), _inputs(torch.zeros_like)),
    Case("shuffled labels", ("NotLearning", "Memorizing", "LabelNoise"), _prepared(_shuffle)),
    Case("40 % wrong labels", ("LabelNoise", "Memorizing"), _prepared(_wrong)),
    Case("one class only", ("ClassImbalance",), _prepared(_one_class)),
    Case("one large class", ("ClassImbalance",), _prepared(_imbalance)),
    Case("missing zero_grad", ("GradientAccumulation",), _afterwards(_no_zero_grad)),
    Case("flipped gradient sign", ("LossNotDecreasing", "ExplodingTensor", "NotLearning"), _afterwards(_flip)),
    Case("softmax twice", ("OutputsNotLogits",), _prepared(_softmax)),
    Case("sum instead of mean of the loss", ("InitialLoss",), _afterwards(_sum_loss)),
    Case("frozen by mistake", ("FrozenByMistake",), _prepared(_freeze)),
    Case("optimizer without the backbone", ("UnchangedTensor",), _afterwards(_forgotten)),
    Case("trains in evaluation mode", ("ModeMistaken",), _afterwards(_always_eval)),
    Case("evaluates in training mode", ("ModeMistaken",), _afterwards(_always_train)),
    Case("leakage into validation", ("SplitOverlap",), _prepared(_leak)),
    Case("NaN in the data", ("ExplodingTensor",), _prepared(_nan_picture)),
    Case("tiny data set", ("TinyDataset", "Overfit", "Memorizing"), lambda setup: setattr(setup, "per_class", 4)),
)
