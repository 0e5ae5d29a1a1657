"""A newcomer's walk with the real image: upload, train, tune, deploy, predict, transform, report, clean."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from started import BUCKET, KEYS, REGION, ROLE, Api, running

import ways
from sample_pictures import make_pictures

# From scratch on small pictures: seconds, not minutes.
QUICK = {
    "architecture": "shufflenet_v2_x0_5",
    "pretrained": "false",
    "freeze_backbone": "false",
    "image_size": "32",
    "epochs": "1",
    "batch_size": "16",
    "debug": "off",
}
SETTINGS = {
    "instance_type": "ml.m5.large",
    "serving_instance_type": "ml.m5.large",
    "trials": "2",
    "ranges.learning_rate": "1e-3,1e-2",
    **{f"hyperparameters.{name}": value for name, value in QUICK.items()},
}


class Desk:
    """The commands, as a user has them."""

    def __init__(self, api: Api, folder: Path) -> None:
        image = os.environ.get("IMAGE") or ways.DEFAULT_IMAGE
        own = {"DESK_ROLE": ROLE, "DESK_BUCKET": BUCKET, "DESK_REGION": REGION, "DESK_IMAGE": image}
        paths = {"PYTHONPATH": str(ways.ROOT / "scripts"), "HOME": str(folder)}
        self.environment = {**os.environ, **KEYS, **own, **paths, "AWS_ENDPOINT_URL": api.url}

    def run(self, *words: str, code: int = 0) -> str:
        values = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        argv = [sys.executable, "-m", "workflow", words[0], *values, *words[1:]]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "data"
    make_pictures(folder, {"train": 8, "valid": 3, "test": 3})
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that runs the image, or without an engine the same commands from .venv."""
    with running(tmp_path_factory.mktemp("walk") / "state") as started:
        yield started


@pytest.fixture(scope="module")
def desk(real: Api, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(real, tmp_path_factory.mktemp("home"))


@pytest.mark.timeout(900)
def test_a_newcomers_walk(real: Api, desk: Desk, pictures: Path) -> None:
    said = desk.run("upload", "--data", str(pictures))
    assert "6 classes, 84 pictures" in said
    assert "uploaded 0, unchanged 84, removed 0" in desk.run("upload", "--data", str(pictures))

    said = desk.run("train")
    assert "epoch=1;" in said
    assert "completed:" in said
    assert f"model: s3://{BUCKET}/image-classifier/jobs/" in said

    said = desk.run("tune")
    assert "trials: 2 Completed" in said
    best = next(line for line in said.splitlines() if line.startswith("best:")).rpartition("JOB=")[2]

    assert "endpoint: image-classifier, InService" in desk.run("deploy", "--job", best)
    said = desk.run("predict", "--path", str(pictures / "test"))
    assert len([line for line in said.splitlines() if "%" in line]) == 18

    file = pictures / "test"
    source = f"s3://{BUCKET}/image-classifier/data/test"
    said = desk.run("transform", "--source", source)
    answers = Path(next(line for line in said.splitlines() if line.startswith("answers:")).split(": ", 1)[1])
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert {row["picture"] for row in rows} == {str(path.relative_to(file)) for path in file.rglob("*.png")}
    answers.unlink()

    said = desk.run("clean", "--yes")
    assert "endpoint image-classifier, InService" in said
    assert "nothing of image-classifier is there" in desk.run("clean", "--yes")


def test_what_is_wrong_is_one_sentence(desk: Desk, tmp_path: Path) -> None:
    assert "no train/<class>/<picture>" in desk.run("upload", "--data", str(tmp_path), code=2)
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "torn.png").write_bytes(b"no picture")
    said = desk.run("upload", "--data", str(tmp_path), code=2)
    assert said.strip() == "workflow: no readable pictures: train/a/torn.png; repair or remove them"
    assert "there is no training job or tuning job nobody" in desk.run("deploy", "--job", "nobody", code=2)
    assert "trials cannot be used" in desk.run("train", "--set", "trials=none", code=2)
