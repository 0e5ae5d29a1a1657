"""What `train` leaves for the report, and `make report` on it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import doors
import ways


def test_every_test_picture_has_its_answer(trained: doors.Finished, pictures: Path) -> None:
    with (trained.base / "output/data/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = {f"training/test/{path.parent.name}/{path.name}" for path in (pictures / "test").glob("*/*")}
    assert {row["path"] for row in rows} == expected
    right = sum(row["label"] == row["predicted"] for row in rows)
    metrics = json.loads((trained.model / "metrics.json").read_text())
    assert right / len(rows) == pytest.approx(metrics["test_accuracy"])
    loss = sum(float(row["loss"]) for row in rows) / len(rows)
    assert loss == pytest.approx(metrics["test_loss"], rel=1e-4)


def test_the_numbers_are_in_the_log_and_in_a_file(trained: doors.Finished) -> None:
    numbers = json.loads((trained.base / "output/data/evaluation.json").read_text())
    low, high = numbers["interval"]
    assert 0 <= low <= numbers["accuracy"] <= high <= 1
    assert f"{numbers['right']} of {numbers['count']} pictures right" in trained.log
    assert f"macro-F1 {numbers['macro_f1']:.3f}" in trained.log


def test_the_report_is_made_anew_where_the_job_is(trained: doors.Finished, tmp_path: Path) -> None:
    output = tmp_path / "output"
    shutil.copytree(trained.base / "output", output)
    page = output / "data" / "report.html"
    page.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, str(ways.ROOT / "scripts" / "local.py"), "report", "--dir", str(output)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert (done.returncode, done.stdout) == (0, f"report: {page}\n"), done.stderr
    html = page.read_text(encoding="utf-8")
    numbers = json.loads((output / "data" / "evaluation.json").read_text())
    assert f"{numbers['right']} of {numbers['count']} test pictures are named rightly" in html
    shown = len(list((output / "data" / "pictures").iterdir()))
    assert shown <= html.count("data:image/jpeg;base64,") <= 2 * shown + 1
