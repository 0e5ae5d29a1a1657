"""The metric lines: one form, and the regular expressions that SageMaker reads them with.

`metric_definitions.json` beside this file is what `Estimator(metric_definitions=…)` and the tuner take.
"""

import json
from collections.abc import Mapping
from importlib import resources

NAMES = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "test_macro_f1",
    "test_top_5_accuracy",
    "epoch_seconds",
    "images_per_second",
    "features_seconds",
    "forward_backward_seconds",
    "evaluation_seconds",
    "waiting_seconds",
    "reading_seconds",
    "saving_seconds",
    "compiling_seconds",
    "report_seconds",
    "other_seconds",
    "job_seconds",
    "decode_seconds",
    "job_images_per_second",
    "matrix_peak_share",
)


def definitions() -> list[dict[str, str]]:
    """The shipped list of {Name, Regex}."""
    text = resources.files("image_classifier.training").joinpath("metric_definitions.json").read_text(encoding="utf-8")
    return list(json.loads(text))


def metric_line(epoch: int | None, values: Mapping[str, float]) -> str:
    """One line for the log: `epoch=1; train_loss=0.1234; val_accuracy=0.9000;`."""
    head = "" if epoch is None else f"epoch={epoch}; "
    return head + " ".join(f"{name}={value:.6g};" for name, value in values.items())


def summary_line(loss: float, correct: int, count: int) -> str:
    """The test line in the wording of PyTorch's MNIST example, which many tuning jobs match."""
    share = 100 * correct / count
    return f"Test set: Average loss: {loss:.4f}, Accuracy: {correct}/{count} ({share:.2f}%)"
