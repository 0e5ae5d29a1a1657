"""What a training job leaves: the artifact, its tables, and the lines that say how good it is."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from image_classifier import artifact
from image_classifier.contract import Layout
from image_classifier.images import Preprocessing
from image_classifier.insight import quality
from image_classifier.training import metrics
from image_classifier.training.evaluation import Evaluation, Ranking
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.state import Progress

logger = logging.getLogger(__name__)

TOP = 5  # choices among which the right one counts as found


def say(result: Evaluation) -> None:
    """Print the test metrics, for the log that tuning jobs read."""
    print(metrics.metric_line(None, _of_test(result)), flush=True)
    print(metrics.summary_line(result.loss, result.correct, result.count), flush=True)


def save(
    layout: Layout,
    network: nn.Module,
    chosen: Hyperparameters,
    classes: tuple[str, ...],
    done: Progress,
    result: Evaluation | None,
) -> tuple[str, ...]:
    """Write the artifact and the tables, and check that the artifact can be loaded; gives the classes' labels.

    Args:
        layout: where to.
        network: the trained network.
        chosen: the job's hyperparameters.
        classes: folder names of the classes.
        done: the course of training.
        result: on the test split, where there is one.
    """
    config = artifact.Config(
        architecture=chosen.architecture,
        classes=classes,
        preprocessing=Preprocessing(image_size=chosen.image_size),
        temperature=done.temperature,
        metrics=_values(done, result),
        hyperparameters=chosen.model_dump(),
        versions=artifact.versions(),
    )
    artifact.save(layout.model, network, config)
    _write_tables(layout.output_data, config.labels, done, result)
    _check_artifact(layout.model, network)
    kind = f"epoch {done.best_epoch}, the best by validation" if done.best_epoch else "an unfinished first epoch"
    logger.info("Model saved to %s (%s).", layout.model, kind)
    return config.labels


def say_costs(folder: Path, costs: Mapping[str, float]) -> None:
    """Print what the whole job has cost, by metrics.NAMES, and note it in the artifact."""
    print(metrics.metric_line(None, costs), flush=True)
    artifact.add_metrics(folder, costs)


def _values(done: Progress, result: Evaluation | None) -> dict[str, float]:
    values: dict[str, float] = {"epochs": float(done.epoch)}
    if done.best_epoch:
        values |= {"val_loss": done.best_loss, "val_accuracy": done.best_accuracy, "best_epoch": done.best_epoch}
    if result:
        low, high = quality.wilson(result.correct, result.count)
        values |= {**_of_test(result), "test_accuracy_low": low, "test_accuracy_high": high}
        values |= _calibration(result.ranking)
    return values


def _of_test(result: Evaluation) -> dict[str, float]:
    """What is printed of the test split, by metrics.NAMES; of five classes or fewer the top five are all."""
    confusion, said = result.confusion.numpy(), result.ranking
    classes = quality.of_classes([""] * len(confusion), confusion)
    found = (said.choices[:, :TOP] == said.targets[:, None]).any(1)
    return {
        "test_loss": result.loss,
        "test_accuracy": result.accuracy,
        "test_macro_f1": quality.macro_f1(classes),
        f"test_top_{TOP}_accuracy": float(found.double().mean()),
    }


def _calibration(said: Ranking) -> dict[str, float]:
    right = (said.choices[:, 0] == said.targets).numpy()
    confidences = {"": said.shares[:, 0], "_before": said.uncalibrated}
    return {
        f"calibration_error{when}": quality.calibration_error(each.double().numpy(), right)
        for when, each in confidences.items()
    }


def _check_artifact(folder: Path, network: nn.Module) -> None:
    """A job that left no loadable model is never a success: load it, and compare every weight."""
    loaded = artifact.load(folder)[0].state_dict()
    for name, value in network.state_dict().items():
        if not torch.equal(loaded[name], value.cpu()):
            raise RuntimeError(f"The saved model in {folder} differs from the trained one in {name}.")


def _write_tables(folder: Path, labels: tuple[str, ...], done: Progress, result: Evaluation | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if done.history:
        with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(done.history[0]))
            writer.writeheader()
            writer.writerows(done.history)
    if result:
        with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["true \\ predicted", *labels])
            rows.writerows([label, *row] for label, row in zip(labels, result.confusion.tolist(), strict=True))
