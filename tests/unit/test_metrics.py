"""The regular expressions that SageMaker reads our log with, against lines as they are printed."""

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.errors import UserError
from image_classifier.training import metrics
from image_classifier.training.metrics import NAMES, definitions, metric_line, summary_line

MODULE = "image_classifier.training.metrics"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
VALUES = [0.0, 1.0, 0.123456789, -2.5, 1e-5, 3e-300, 12345678.9, 1e20, math.nan, math.inf, -math.inf, 100]


def found(name: str, line: str) -> list[float]:
    (regex,) = (entry["Regex"] for entry in definitions() if entry["Name"] == name)
    return [float(value) for value in re.findall(regex, line)]


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5) or a == b or (math.isnan(a) and math.isnan(b))


def test_the_shipped_definitions_are_the_metrics_that_are_printed() -> None:
    assert tuple(entry["Name"] for entry in definitions()) == NAMES


def test_the_definitions_keep_sagemakers_limits() -> None:
    assert len(definitions()) <= 40
    for entry in definitions():
        assert set(entry) == {"Name", "Regex"}
        assert len(entry["Regex"]) <= 500
        assert len(entry["Name"]) <= 255
        assert re.compile(entry["Regex"]).groups == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", VALUES)
def test_each_value_is_read_back_from_its_line(name: str, value: float) -> None:
    line = metric_line(3, {other: 7.0 for other in NAMES} | {name: value})
    (read,) = found(name, line)
    assert same(read, value)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_not_mistaken_for_another(name: str) -> None:
    others = metric_line(1, {other: 1.0 for other in NAMES if other != name})
    assert found(name, others) == []
    assert found(name, f"best_{name}=3;") == []
    assert found(name, f"  {name} = 3") == []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES), st.floats())
def test_any_float_is_read_back(name: str, value: float) -> None:
    (read,) = found(name, metric_line(None, {name: value}))
    assert same(read, float(f"{value:.6g}"))


LOG = "Data: 2 classes.\nepoch=1; train_loss=1.5; val_accuracy=0.25;\nepoch=2; train_loss=0.5; val_accuracy=0.75;\n"


def test_a_log_is_read_offline_and_shown_as_a_table(tmp_path: Path, python: Run) -> None:
    (tmp_path / "job.log").write_text(LOG)
    shown = python("-m", MODULE, str(tmp_path / "job.log"))
    assert shown.returncode == 0, shown.stderr
    rows = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines() if line.strip()}
    assert rows["metric"] == ["matches", "first", "last", "least", "greatest"]
    assert rows["train_loss"] == ["2", "1.5", "0.5", "0.5", "1.5"]
    assert rows["val_accuracy"] == ["2", "0.25", "0.75", "0.25", "0.75"]
    assert rows["test_loss"] == ["0"]
    assert rows.keys() == {"metric", *NAMES}


def test_definitions_of_ones_own_are_tried_and_a_log_without_metrics_is_no_success(tmp_path: Path, python: Run) -> None:
    (tmp_path / "job.log").write_text(LOG)
    own = tmp_path / "own.json"
    for expression, code, words in (
        (r"train_loss=([0-9.]+)", 0, "loss 2 1.5 0.5 0.5 1.5"),
        (r"train_loss: ([0-9.]+)", 1, f"No metric is found in {tmp_path / 'job.log'}."),
    ):
        own.write_text(json.dumps([{"Name": "loss", "Regex": expression}]))
        shown = python("-m", MODULE, str(tmp_path / "job.log"), "--definitions", str(own))
        assert shown.returncode == code
        assert words in " ".join((shown.stdout + shown.stderr).split())
    own.write_text("{}[")
    for log, words in (
        ("job.log", f"{own} is no JSON list of {{Name, Regex}}"),
        ("lost.log", "lost.log cannot be read"),
    ):
        more = ("--definitions", str(own)) if log == "job.log" else ()
        shown = python("-m", MODULE, str(tmp_path / log), *more)
        assert shown.returncode == 1
        assert words in shown.stderr
        assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("loss=(", "The expression of loss cannot be read: "),
        (r"loss=[0-9.]+", "The expression of loss has no group"),
        (r"loss=([0-9.]+;)", "The expression of loss finds '1.5;', which is no number"),
        (r"loss=(x)?", "The expression of loss finds None, which is no number"),
    ],
)
def test_an_expression_that_cannot_be_used_is_an_error_that_names_it(expression: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        metrics.found(LOG.splitlines(), [{"Name": "loss", "Regex": expression}])


def test_the_lines_have_the_documented_form() -> None:
    assert metric_line(1, {"train_loss": 0.12345678, "val_accuracy": 0.9}) == (
        "epoch=1; train_loss=0.123457; val_accuracy=0.9;"
    )
    assert metric_line(None, {"test_loss": 0.5}) == "test_loss=0.5;"
    assert summary_line(0.12345, 87, 100) == "Test set: Average loss: 0.1235, Accuracy: 87/100 (87.00%)"


def test_the_expressions_of_other_projects_notebooks_read_the_lines() -> None:
    (loss,) = re.findall(r"Test set: Average loss: ([0-9\.]+)", summary_line(0.12345, 87, 100))
    (validation,) = re.findall(r"val_loss=([0-9.+-eE]+);", metric_line(3, {"val_loss": 1.25e-5, "val_accuracy": 0.9}))
    assert (float(loss), float(validation)) == (0.1235, 1.25e-5)
