"""Event files for TensorBoard: the metrics of each epoch, and the distribution of the weights that learn."""

from pathlib import Path

from smdebug.core.modes import ModeKeys
from smdebug.core.writer import FileWriter
from torch import nn

from image_classifier.insight import statistics

_LARGEST = 1 << 16  # values of a tensor that its histogram is made of
_SIDES = {"train": ModeKeys.TRAIN, "val": ModeKeys.EVAL}


class TensorBoard:
    """Writes one file an epoch for training and one for validation, so that both share their charts.

    Args:
        folder: with the runs `TRAIN` and `EVAL`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, values: dict[str, float], module: nn.Module) -> None:
        """Write an epoch.

        Args:
            values: `epoch`, and metrics whose names begin with `train_` or `val_`, or are of training.
            module: what was trained.
        """
        epoch = int(values["epoch"])
        for side, mode in _SIDES.items():
            writer = FileWriter(
                str(self._folder), worker="worker", step=epoch, wtype="tensorboard", mode=mode, write_checksum=True
            )
            for name, value in values.items():
                if _side(name) == side:
                    writer.write_scalar_summary(name.removeprefix(f"{side}_"), value, epoch)
            if side == "train":
                _write_weights(writer, module, epoch)
            writer.close()


def _side(name: str) -> str:
    if name == "epoch":
        return ""
    return "val" if name.startswith("val_") else "train"


def _write_weights(writer: FileWriter, module: nn.Module, epoch: int) -> None:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            values = statistics.thinned(statistics.flat(parameter), _LARGEST).cpu().numpy()
            writer.write_histogram_summary(values, name, epoch)
