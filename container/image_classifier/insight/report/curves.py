"""Loss and accuracy over the epochs, and the loss of single steps."""

import math
from collections.abc import Callable, Sequence

from image_classifier.insight.report.charts import Axis, Chart, Level, Series, Table, axis_of
from image_classifier.insight.report.material import Material, Row
from image_classifier.insight.report.wording import duration, number, percent

NONE = "No epoch was finished, or neither `history.csv` nor recorded losses are there, so there are no curves."
_MOST_ROWS = 100


def curves(material: Material) -> tuple[Chart, ...]:
    """Loss and accuracy by epoch, and loss by step; those that can be drawn."""
    charts = (_loss(material), _accuracy(material), _steps(material))
    return tuple(chart for chart in charts if chart is not None)


def _loss(material: Material) -> Chart | None:
    series = _series(material.history, {"training": "train_loss", "validation": "val_loss"})
    if not series:
        return None
    values = [value for each in series for _, value in each.points]
    return Chart("Loss by epoch, in nats", _epochs(material), axis_of(values, "loss"), series, moments=_best(material))


def _accuracy(material: Material) -> Chart | None:
    series = _series(material.history, {"training": "train_accuracy", "validation": "val_accuracy"})
    if not series:
        return None
    quality = material.quality
    levels = (Level(quality.accuracy, f"{quality.split} {percent(quality.accuracy)}"),) if quality else ()
    values = [value for each in series for _, value in each.points] + [level.value for level in levels]
    low, high = min(v for v in values if math.isfinite(v)), max(v for v in values if math.isfinite(v))
    axis = Axis(max(0.0, low - 0.05), min(1.0, high + 0.05), "accuracy", label=lambda share: f"{100 * share:.0f} %")
    return Chart("Accuracy by epoch", _epochs(material), axis, series, levels, moments=_best(material))


def _steps(material: Material) -> Chart | None:
    losses = material.run.trial.losses("TRAIN")
    if len(losses) < 2:
        return None
    axis = Axis(losses[0][0], losses[-1][0], "step", whole=True)
    points = [(float(step), loss) for step, loss in losses]
    return Chart(
        "Training loss by step, in nats",
        axis,
        axis_of([loss for _, loss in losses], "loss"),
        [Series("training", points)],
    )


def _series(history: Sequence[Row], columns: dict[str, str]) -> list[Series]:
    lines = [Series(name, [(row.epoch, getattr(row, column)) for row in history]) for name, column in columns.items()]
    return [line for line in lines if any(math.isfinite(value) for _, value in line.points)]


def _epochs(material: Material) -> Axis:
    first, last = material.history[0].epoch, material.history[-1].epoch
    return Axis(first, last, "epoch", whole=True)


def _best(material: Material) -> tuple[Level, ...]:
    best = material.best
    return (Level(best.epoch, f"kept: epoch {best.epoch}"),) if best and len(material.history) > 1 else ()


def table(material: Material) -> Table:
    """All epochs; of very many, evenly spread ones."""
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("training loss", "train_loss", number),
        ("training accuracy", "train_accuracy", percent),
        ("validation loss", "val_loss", number),
        ("validation accuracy", "val_accuracy", percent),
        ("time", "epoch_seconds", duration),
        ("samples a second", "images_per_second", number),
    ]
    known = [each for each in columns if any(math.isfinite(getattr(row, each[1])) for row in material.history)]
    shown = material.history[:: -(-len(material.history) // _MOST_ROWS) or 1]
    rows = [[str(row.epoch), *(say(getattr(row, column)) for _, column, say in known)] for row in shown]
    return Table(
        ["epoch", *(name for name, _, _ in known)],
        rows,
        "Every epoch" if len(shown) == len(material.history) else "Some of the epochs",
    )
