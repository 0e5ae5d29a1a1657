"""How good the network is: mean loss, accuracy, confusion, and what it said about each sample."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from image_classifier.insight.predictions import RANKS
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.progress import progress
from image_classifier.training.sources import Batch, Source
from image_classifier.training.stopping import Stop

Context = AbstractContextManager[None]


@dataclass(frozen=True)
class Ranking:
    """The first choices for n samples, in the source's order; k = min(RANKS, classes)."""

    targets: torch.Tensor  # int64 [n]
    choices: torch.Tensor  # int64 [n, k], the best first
    shares: torch.Tensor  # float32 [n, k], softmax at the temperature: what `serve` answers
    uncalibrated: torch.Tensor  # float32 [n], the first choice's share at a temperature of 1
    losses: torch.Tensor  # float32 [n], cross-entropy in nats

    @classmethod
    def of(cls, logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> "Ranking":
        """Rank logits [n, classes]; of equals the first class comes first, as argmax has it."""
        choices = logits.argsort(dim=1, descending=True, stable=True)[:, :RANKS]
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        shares = (logits / temperature).softmax(1).gather(1, choices)
        return cls(targets, choices, shares, logits.softmax(1).amax(1), losses)

    @classmethod
    def joined(cls, parts: "Sequence[Ranking]") -> "Ranking":
        """One ranking of several, in order."""
        names = ("targets", "choices", "shares", "uncalibrated", "losses")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Evaluation:
    """Result on one split. Loss is the mean cross-entropy of a sample, in nats."""

    loss: float
    correct: int
    confusion: torch.Tensor  # int64 [true class, predicted class]
    ranking: Ranking

    @classmethod
    def of(cls, ranking: Ranking, num_classes: int) -> "Evaluation":
        """Sum up what was said about each sample."""
        confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        first = ranking.choices[:, 0]
        confusion.index_put_((ranking.targets, first), torch.ones_like(first), accumulate=True)
        return cls(float(ranking.losses.double().mean()), int(confusion.trace()), confusion, ranking)

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
    world: World = ALONE

    def steps(self, source: Source) -> int:
        """Batches of one pass in this process."""
        return -(-len(self.world.share(range(len(source)))) // self.batch_size)

    def predict(
        self, module: nn.Module, source: Source, label: str, around: Callable[[], Context] = nullcontext
    ) -> Iterator[Batch]:
        """Give (output, targets) batch by batch, on the CPU; of several processes each runs its share.

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
        total = self.steps(source)
        try:
            for inputs, targets in progress(source.batches(self.batch_size), total, label):
                self.stop.check()
                if not len(targets):
                    continue
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
        temperature: float = 1.0,
    ) -> Evaluation:
        """Measure a module that gives logits.

        Args:
            module: gives logits.
            source: what to measure it on.
            num_classes: number of logits.
            label: for the progress.
            heard: the loss that the Debugger's hook listens to; called, and not measured.
            around: makes a context that each batch is in.
            temperature: of the confidences; the loss is that of the logits as they are.

        Raises:
            Stopped: the job was asked to stop.
        """

        def rankings() -> Iterator[Ranking]:
            for logits, targets in self.predict(module, source, label, around):
                if heard is not None:
                    heard(logits.to(self.device), targets.to(self.device))
                yield Ranking.of(logits, targets, temperature)

        return Evaluation.of(Ranking.joined(self.world.all_of(rankings())), num_classes)
