"""The metric lines: one form, and the regular expressions that SageMaker reads them with.

`metric_definitions.json` beside this file is what `Estimator(metric_definitions=…)` and the tuner take. What they, or
definitions of your own, find in a log: `python -m image_classifier.training.metrics LOG [--definitions FILE]`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from image_classifier.errors import UserError

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


def found(lines: Iterable[str], wanted: Sequence[Mapping[str, str]]) -> dict[str, list[float]]:
    """What definitions read in a log, as SageMaker does: each match in each line, its first group as a number.

    Args:
        lines: of the log.
        wanted: {Name, Regex} of each metric.

    Raises:
        UserError: an expression has no group, cannot be read, or finds what is no number.
    """
    values: dict[str, list[float]] = {one["Name"]: [] for one in wanted}
    expressions = [(one["Name"], _compiled(one)) for one in wanted]
    for line in lines:
        for name, expression in expressions:
            values[name] += [_number(name, match[1]) for match in expression.finditer(line)]
    return values


def _compiled(one: Mapping[str, str]) -> re.Pattern[str]:
    try:
        expression = re.compile(one["Regex"])
    except re.error as error:
        raise UserError(f"The expression of {one['Name']} cannot be read: {error}.") from None
    if not expression.groups:
        raise UserError(f"The expression of {one['Name']} has no group (…) around the number; put one there.")
    return expression


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise UserError(
            f"The expression of {name} finds {text!r}, which is no number; make its group narrower."
        ) from None


def _read(file: Path) -> list[dict[str, str]]:
    try:
        wanted = list(json.loads(file.read_text("utf-8")))
        return [{"Name": one["Name"], "Regex": one["Regex"]} for one in wanted]
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{file} is no JSON list of {{Name, Regex}}, as Estimator(metric_definitions=…) takes it."
        ) from None


def _show(values: Mapping[str, Sequence[float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", box=None)
    for title in ("matches", "first", "last", "least", "greatest"):
        table.add_column(title, justify="right")
    for name, each in values.items():
        numbers = (each[0], each[-1], min(each), max(each)) if each else ()
        table.add_row(name, str(len(each)), *(f"{number:.6g}" for number in numbers))
    Console(highlight=False).print(table)


def main() -> None:
    """Show what the definitions find in a log; the exit code is 1 when that is nothing."""
    parser = argparse.ArgumentParser(prog="python -m image_classifier.training.metrics", description=__doc__)
    parser.add_argument("log", type=Path, help="a job's log")
    parser.add_argument("--definitions", type=Path, help="a JSON list of {Name, Regex}; the image's own unless given")
    options = parser.parse_args()
    try:
        wanted = _read(options.definitions) if options.definitions else definitions()
        values = found(options.log.read_text("utf-8", "replace").splitlines(), wanted)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read: {error.strerror}.")
    _show(values)
    if not any(values.values()):
        sys.exit(f"No metric is found in {options.log}.")


if __name__ == "__main__":
    main()
