"""The training loop: epochs of steps, validation, the best weights, and a place to resume from.

Nothing here depends on when the job was interrupted: the order of samples, the augmentation, the dropout and the
learning rate are functions of the seed and the step, so a resumed job ends with the weights of an undisturbed one.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from image_classifier.errors import UserError
from image_classifier.insight.hook import Course, Hook
from image_classifier.training.averaging import Average, Weights
from image_classifier.training.calibration import fit_temperature
from image_classifier.training.checkpoint import Checkpoints
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.evaluation import Evaluation, Evaluator
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.metrics import metric_line
from image_classifier.training.optimization import learning_rate, make_loss, make_optimizer, set_learning_rate
from image_classifier.training.precision import Precision
from image_classifier.training.progress import progress
from image_classifier.training.sources import Batch, Source
from image_classifier.training.state import Progress
from image_classifier.training.stopping import Stop, Stopped

logger = logging.getLogger(__name__)


class Diverged(UserError):
    """The loss is no longer a number."""


@dataclass
class Trainer:
    """Trains one module: the whole network, or its head alone when features stand in for pictures."""

    module: nn.Module
    train: Source
    validation: Source
    class_counts: tuple[int, ...]  # training pictures of each class
    chosen: Hyperparameters
    evaluator: Evaluator
    checkpoints: Checkpoints
    hook: Hook
    stop: Stop
    set_mode: Callable[[], Any]  # puts the module into training mode
    world: World = ALONE
    phase: Callable[[str], AbstractContextManager[None]] = lambda _name: (
        nullcontext()
    )  # around each epoch and validation
    head: Sequence[nn.Parameter] = ()  # learn at the full rate; none: all do
    begin: Callable[[], Any] = lambda: None  # what comes before the first step of a job, and not of a resumed one

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.module.parameters(), self.chosen, self.head)
        self.precision = Precision.choose(self.chosen.precision, self.evaluator.device)
        self.scaler = self.precision.scaler()
        self.average = Average(self.chosen.ema_decay)
        loss = make_loss(self.class_counts, self.chosen)
        self.class_weights = loss.weight  # stays on the CPU, where targets come from
        self.loss = loss.to(self.evaluator.device)
        self.steps = -(-len(self.train) // self.chosen.batch_size)
        self.progress = Progress()
        self.best: Weights = {}

    def fit(self) -> Progress:
        """Train to the end, to early stopping, or to the request to stop; the module then has the best weights.

        Raises:
            Stopped: asked to stop before there was anything to keep.
            UserError: nothing good was learnt before the loss was no longer a number, or before a rule fired.
        """
        if not self._resume():
            self.begin()
        self.hook.start(self.module, self.loss, self._course())
        try:
            while self.progress.epoch < self.chosen.epochs and not self._patience_is_over():
                if reason := self._run_epoch():
                    self._stop_on(reason)
                    break
        except Stopped:
            self._save()
            if not self.progress.best_epoch and not self._steps_taken():
                raise
            now = self.progress
            logger.info("Stopped in epoch %d after step %d; a restart resumes there.", now.epoch + 1, now.step)
        except Diverged as error:
            if not self.progress.best_epoch:
                raise
            logger.warning("%s The model is that of epoch %d, the best before.", error, self.progress.best_epoch)
        self.module.load_state_dict(self.best or self.average.weights or self.module.state_dict())
        self._calibrate()
        return self.progress

    def _calibrate(self) -> None:
        try:
            self.world.agree(self.stop)
            with self.phase("calibration"):
                said = self.world.all_of(self.evaluator.predict(self.module, self.validation, "Calibrating"))
            logits, targets = (torch.cat(part) for part in zip(*said, strict=True))
        except Stopped:  # it is short of time: probabilities stay as they are
            return
        self.progress.temperature = fit_temperature(logits, targets)
        logger.info(
            "Calibration: temperature %.3f, fitted to %d validation pictures.", self.progress.temperature, len(targets)
        )

    def _course(self) -> Course:
        now = self.progress
        return Course(self.steps, self.evaluator.steps(self.validation), self.chosen.epochs, now.epoch, now.step)

    def _run_epoch(self) -> str | None:
        """Train and validate; gives a sentence when a rule of `stop_on` says that this leads nowhere."""
        started, first = time.monotonic(), self.progress.seen
        with self.phase("epoch"):
            self._train_epoch()
        with self.average.inside(self.module):
            with self.phase("validation"):
                result = self._validate()
            self._record(result, time.monotonic() - started, self.progress.seen - first)
        self.progress.next_epoch()
        self._save()
        return self.world.from_main(self.hook.end_epoch(self.progress.history[-1]))

    def _validate(self) -> Evaluation:
        return self.evaluator.evaluate(
            self.module,
            self.validation,
            len(self.class_counts),
            "Validating",
            heard=self.loss,
            around=self._validating,
        )

    @contextmanager
    def _validating(self) -> Iterator[None]:
        with self.hook.step(training=False), self.precision.cast():
            yield

    def _stop_on(self, reason: str) -> None:
        """End the job orderly when a rule fired: what was good before it is kept.

        Raises:
            UserError: the rule fired in the first epoch.
        """
        if self.progress.epoch == 1:
            raise UserError(f"Stopped after the first epoch, as stop_on asks: {reason}")
        logger.info("Stopped after epoch %d, as stop_on asks: %s", self.progress.epoch, reason)

    def _train_epoch(self) -> None:
        self.set_mode()
        epoch = self.progress.epoch + 1
        batches = self.train.batches(self.chosen.batch_size, epoch, skip=self.progress.step)
        label = f"Epoch {epoch} of {self.chosen.epochs}"
        with self._counted():
            for batch in progress(self.hook.batches(batches), self.steps - self.progress.step, label):
                weight = self._weight(batch[1])
                count, whole = self.world.agree(self.stop, len(batch[1]), weight)
                if count:
                    with self.hook.step(training=True):
                        self._step(batch, weight / whole, int(count))
                self.progress.step += 1

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Sum up on the device what the steps say, and read it at the end: a step waits for no GPU."""
        now = self.progress
        self.sums = torch.tensor([now.loss_sum, now.correct], dtype=torch.float64, device=self.evaluator.device)
        try:
            yield
        finally:
            now.loss_sum, correct = self.sums.tolist()
            now.correct = int(correct)

    def _weight(self, targets: torch.Tensor) -> float:
        """What samples weigh in the loss."""
        return float(len(targets) if self.class_weights is None else self.class_weights[targets].sum())

    def _step(self, batch: Batch, share: float, count: int) -> None:
        """Learn from this process's share of a batch of `count` samples."""
        number = self._steps_taken()
        draw = number * self.world.size + self.world.rank
        torch.manual_seed(self.chosen.seed * 1_000_003 + draw)  # dropout draws the same after a restart
        set_learning_rate(self.optimizer, learning_rate(self.chosen, number, self.steps * self.chosen.epochs))
        inputs, targets = (tensor.to(self.evaluator.device, non_blocking=True) for tensor in batch)
        with self.precision.cast():
            logits = self.module(inputs)
        loss = self.loss(logits.float(), targets) * share if len(targets) else logits.sum() * 0
        correct = (logits.detach().argmax(1) == targets).sum()
        mean, hits = self._update(loss, correct).double()
        self.sums += torch.stack([mean * count, hits])
        self.progress.seen += count

    def _update(self, loss: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
        """Take a step; gives the sums of loss and correct answers over all processes, float32 [2]."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        sums = self.world.sum_gradients(self.module.parameters(), loss, correct)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.module)
        return sums

    def _steps_taken(self) -> int:
        return self.progress.epoch * self.steps + self.progress.step

    def _record(self, result: Evaluation, seconds: float, seen: int) -> None:
        epoch, values = self.progress.epoch + 1, self.progress.values(result, seconds, seen)
        if self.world.is_main:
            print(metric_line(epoch, values), flush=True)
        if not math.isfinite(values["train_loss"]) or not math.isfinite(values["val_loss"]):
            raise Diverged(
                f"The loss is no longer a number in epoch {epoch}: training diverged; "
                f"use a lower learning_rate than {self.chosen.learning_rate:g}."
            )
        self.progress.history.append({"epoch": epoch, **values})
        if self.progress.is_best(result):
            self.best = copy.deepcopy(self.module.state_dict())

    def _patience_is_over(self) -> bool:
        patience = self.chosen.early_stopping_patience
        waited = self.progress.epoch - self.progress.best_epoch
        if not patience or waited < patience:
            return False
        logger.info("Early stopping: no better validation for %d epochs.", waited)
        return True

    def _save(self) -> None:
        state = {
            "progress": asdict(self.progress),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "average": self.average.weights,
            "scaler": self.scaler.state_dict(),
        }
        if self.world.is_main:
            self.checkpoints.save(state, self._steps_taken())

    def _resume(self) -> bool:
        """Whether there was a checkpoint to go on from."""
        state = self.world.from_main(self.checkpoints.latest() if self.world.is_main else None)
        if state is None:
            return False
        self.progress = Progress(**state["progress"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.average.load(state["average"], self.evaluator.device)
        self.scaler.load_state_dict(state["scaler"])
        logger.info("Resumed at epoch %d, step %d.", self.progress.epoch + 1, self.progress.step)
        return True
