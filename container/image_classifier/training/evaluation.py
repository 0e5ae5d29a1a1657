"""How good the network is: mean loss, accuracy, confusion."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from image_classifier.training.progress import progress
from image_classifier.training.sources import Batch, Source
from image_classifier.training.stopping import Stop

Context = AbstractContextManager[None]


@dataclass(frozen=True)
class Evaluation:
    """Result on one split. Loss is the mean cross-entropy of a sample, in nats."""

    loss: float
    correct: int
    confusion: torch.Tensor  # int64 [true class, predicted class]

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of samples whose first label is right."""
        return self.correct / self.count


@dataclass(frozen=True)
class Evaluator:
    """Runs a network without learning."""

    device: torch.device
    batch_size: int
    stop: Stop

    def predict(
        self, module: nn.Module, source: Source, label: str, around: Callable[[], Context] = nullcontext
    ) -> Iterator[Batch]:
        """Give (output, targets) batch by batch, on the CPU.

        Args:
            module: what to run.
            source: what to run it on.
            label: for the progress.
            around: makes a context that each batch is in, until the next one is asked for.

        Raises:
            Stopped: the job was asked to stop.
        """
        was_training = module.training
        module.eval()
        total = -(-len(source) // self.batch_size)
        try:
            for inputs, targets in progress(source.batches(self.batch_size), total, label):
                self.stop.check()
                with around():
                    with torch.inference_mode():
                        output = module(inputs.to(self.device)).float().cpu()
                    yield output, targets
        finally:
            module.train(was_training)

    def evaluate(
        self,
        module: nn.Module,
        source: Source,
        num_classes: int,
        label: str,
        heard: nn.Module | None = None,
        around: Callable[[], Context] = nullcontext,
    ) -> Evaluation:
        """Measure a module that gives logits.

        Args:
            module: gives logits.
            source: what to measure it on.
            num_classes: number of logits.
            label: for the progress.
            heard: the loss that the Debugger's hook listens to; called, and not measured.
            around: makes a context that each batch is in.

        Raises:
            Stopped: the job was asked to stop.
        """
        loss = 0.0
        confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        for logits, targets in self.predict(module, source, label, around):
            if heard is not None:
                heard(logits, targets)
            loss += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
            confusion.index_put_((targets, logits.argmax(1)), torch.ones_like(targets), accumulate=True)
        return Evaluation(loss / int(confusion.sum()), int(confusion.trace()), confusion)
