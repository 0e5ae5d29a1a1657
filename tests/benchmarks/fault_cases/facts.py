"""What `train` writes beside the tensors: run.json and history.csv."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import torch

from fault_cases.world import CLASSES, Setup
from image_classifier.insight.run_facts import RunFacts
from image_classifier.training import chronicle
from image_classifier.training.loop import Trainer


def write_facts(folder: Path, setup: Setup, trainer: Trainer) -> None:
    """Write run.json."""
    counts = Counter(setup.train.targets.tolist())
    RunFacts(
        architecture=setup.architecture,
        classes=CLASSES[: setup.classes],
        class_counts=tuple(counts[n] for n in range(setup.classes)),
        counts={"train": len(setup.train), "validation": len(setup.validation)},
        duplicates={"validation": _doubles(setup.train.inputs, setup.validation.inputs)},
        batch_size=trainer.chosen.batch_size,
        steps_per_epoch=trainer.steps,
        epochs=trainer.chosen.epochs,
        cores=2,
        hyperparameters=trainer.chosen.model_dump(),
        **chronicle.of_module(trainer.module),
    ).write(folder)


def write_history(folder: Path, trainer: Trainer) -> None:
    """Write history.csv."""
    history = trainer.progress.history
    if history:
        with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)


def _doubles(train: torch.Tensor, other: torch.Tensor) -> int:
    def digests(pictures: torch.Tensor) -> list[bytes]:
        return [hashlib.sha256(picture.numpy().tobytes()).digest() for picture in pictures]

    known = set(digests(train))
    return sum(digest in known for digest in digests(other))
