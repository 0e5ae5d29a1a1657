"""How far a job is; all of it goes into a checkpoint."""

import math
from dataclasses import dataclass, field

from image_classifier.training.evaluation import Evaluation


@dataclass
class Progress:
    """Counts, the current epoch's sums, the best epoch, and the metrics of all."""

    epoch: int = 0  # epochs that are finished, validation included
    step: int = 0  # steps taken in the current epoch
    loss_sum: float = 0.0  # of this epoch, over `seen` samples
    correct: int = 0
    seen: int = 0
    best_epoch: int = 0  # 0: none yet
    best_loss: float = math.inf
    best_accuracy: float = -1.0
    temperature: float = 1.0  # of the best weights, fitted when training is over
    history: list[dict[str, float]] = field(default_factory=list)

    def values(self, result: Evaluation, seconds: float, seen: int) -> dict[str, float]:
        """Metrics of the current epoch, by metrics.NAMES; `seen` of its samples were trained on in these seconds."""
        return {
            "train_loss": self.loss_sum / self.seen,
            "train_accuracy": self.correct / self.seen,
            "val_loss": result.loss,
            "val_accuracy": result.accuracy,
            "epoch_seconds": seconds,
            "images_per_second": seen / seconds,
        }

    def is_best(self, result: Evaluation) -> bool:
        """Whether the current epoch's validation is better than all before, which is then noted."""
        if (result.accuracy, -result.loss) <= (self.best_accuracy, -self.best_loss):
            return False
        self.best_epoch, self.best_loss, self.best_accuracy = self.epoch + 1, result.loss, result.accuracy
        return True

    def next_epoch(self) -> None:
        """Close the current epoch."""
        self.epoch += 1
        self.step = self.seen = self.correct = 0
        self.loss_sum = 0.0
