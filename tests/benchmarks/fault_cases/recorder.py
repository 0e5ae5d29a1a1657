"""Records a run in the form of `debug=light`: what the rules read, written by smdebug's own writer."""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from smdebug.core.modes import ModeKeys
from smdebug.core.writer import FileWriter
from torch import nn

from fault_cases.world import CLASSES, Setup
from image_classifier.insight import statistics
from image_classifier.insight.run_facts import RunFacts
from image_classifier.training.loop import Trainer

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.SiLU)
_NORMALIZATIONS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass
class Recorder:
    """Listens to a trainer by torch's hooks, so that a planted fault cannot hide from it."""

    folder: Path
    trainer: Trainer
    step: int = -1
    trained: int = -1
    found: dict[str, torch.Tensor] = field(default_factory=dict)
    before: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total = self.trainer.steps * self.trainer.chosen.epochs
        self.saving = {0, 1, 2, *np.linspace(3, total - 1, 11).astype(int).tolist()}
        module = self.trainer.module
        self.parameters = dict(module.named_parameters())
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._output)
        self.trainer.loss.register_forward_hook(self._loss)
        self.trainer.optimizer.register_step_pre_hook(self._gradients)
        self.trainer.optimizer.register_step_post_hook(self._updates)
        for name, part in module.named_modules():
            if isinstance(part, _ACTIVATIONS):
                part.register_forward_hook(self._activation(name))

    @property
    def saves(self) -> bool:
        return self.trained in self.saving

    def close(self) -> None:
        self._write("TRAIN" if self.training else "EVAL")

    def _start(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if self.step >= 0:
            self.close()
        self.training = torch.is_grad_enabled()
        self.step += 1
        self.trained += self.training
        if self.training and self.saves:
            self.found["statistics/input/0"] = _summary(inputs[0])
            self.before = {name: value.detach().clone() for name, value in self.parameters.items()}
            for name, value in self.parameters.items():
                self.found[f"statistics/weight/{name}"] = _summary(value)
        if not self.training or self.saves:
            self.found["statistics/training/0"] = statistics.training_share(module)

    def _activation(self, name: str) -> Any:
        def listen(_module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if self.training and self.saves:
                self.found[f"statistics/activation/{name}"] = _summary(inputs[0])
                self.found[f"statistics/activity/{name}"] = statistics.activity(output.detach())

        return listen

    def _output(self, _module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if not self.training or self.saves:
            self.found["predictions"] = torch.softmax(output.detach().float(), 1)

    def _loss(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.found["CrossEntropyLoss_output_0"] = output.detach()
        if not self.training or self.saves:
            self.found["labels"] = inputs[1]

    def _gradients(self, *_: object) -> None:
        if self.saves:
            for name, value in self.parameters.items():
                if value.grad is not None:
                    self.found[f"statistics/gradient/{name}"] = _summary(value.grad)

    def _updates(self, *_: object) -> None:
        if self.saves:
            for name, value in self.parameters.items():
                if value.requires_grad:
                    ratio = statistics.update_ratio(self.before[name], value.detach())
                    self.found[f"statistics/update/{name}"] = _summary(ratio)

    def _write(self, mode: str) -> None:
        writer = FileWriter(trial_dir=str(self.folder / "tensors"), step=self.step, worker="worker_0")
        for name, value in self.found.items():
            writer.write_tensor(tdata=value.cpu().numpy(), tname=name, mode=ModeKeys[mode], mode_step=self.step)
        writer.close()
        self.found = {}


def _summary(values: torch.Tensor) -> torch.Tensor:
    """Of about ten thousand values, as debug=light does; every value where they are few or not finite.

    The stride is odd and no multiple of 3, as kernels are: it would meet the same corner of each of them.
    """
    flat = values.detach().flatten()
    stride = len(flat) // 10_000
    while stride > 1 and (stride % 2 == 0 or stride % 3 == 0):
        stride += 1
    return statistics.summarize(flat[::stride] if stride > 1 and torch.isfinite(flat).all() else flat)


def write_facts(folder: Path, setup: Setup, trainer: Trainer) -> None:
    """Write run.json as `train` does."""
    counts = Counter(setup.train.targets.tolist())
    module = trainer.module
    parameters = dict(module.named_parameters())
    RunFacts(
        architecture=setup.architecture,
        module=type(module).__name__,
        classes=CLASSES[: setup.classes],
        class_counts=tuple(counts[n] for n in range(setup.classes)),
        counts={"train": len(setup.train), "validation": len(setup.validation)},
        duplicates={"validation": _doubles(setup.train.inputs, setup.validation.inputs)},
        batch_size=trainer.chosen.batch_size,
        steps_per_epoch=trainer.steps,
        epochs=trainer.chosen.epochs,
        trainable=tuple(name for name, value in parameters.items() if value.requires_grad),
        frozen=tuple(name for name, value in parameters.items() if not value.requires_grad),
        normalized=any(isinstance(part, _NORMALIZATIONS) for part in module.modules()),
        activations={n: type(m).__name__ for n, m in module.named_modules() if isinstance(m, _ACTIVATIONS)},
        cores=2,
        hyperparameters=trainer.chosen.model_dump(),
    ).write(folder / "data")


def write_history(folder: Path, trainer: Trainer) -> None:
    """Write history.csv as `train` does."""
    history = trainer.progress.history
    if history:
        with (folder / "data" / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)


def _doubles(train: torch.Tensor, other: torch.Tensor) -> int:
    def digests(pictures: torch.Tensor) -> list[bytes]:
        return [hashlib.sha256(picture.numpy().tobytes()).digest() for picture in pictures]

    known = set(digests(train))
    return sum(digest in known for digest in digests(other))
