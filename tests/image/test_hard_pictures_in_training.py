"""Hostile and damaged pictures among those to train on: what cannot be used is named, counted and left out."""

import json
import re
import shutil
from pathlib import Path

import pytest

import doors
from doors import QUICK
from image_classifier import artifact
from image_classifier.contract import Settings
from image_classifier.training.dataset import SUFFIXES

FOLDER = doors.DATA / "hard-images"
# Cut off after its pixels, which the manifest's decoder let pass.
UNFINISHED = {"truncated_end_chunk.png"}

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the collection of hard pictures is not beside this project"
)


@pytest.fixture
def hard(pictures: Path, tmp_path: Path) -> Path:
    """Ordinary pictures, and all hard ones in the first class of them to train on."""
    folder = Path(shutil.copytree(pictures, tmp_path / "hard"))
    label = min((folder / "train").iterdir())
    for path in FOLDER.iterdir():
        shutil.copy(path, label)
    return folder


@pytest.fixture
def unusable(hard: Path) -> set[str]:
    """Those that the manifest's decoder could not read, or that are larger than a picture may be."""
    label = min((hard / "train").iterdir())
    limit = Settings.from_environment({}).max_pixels
    entries = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    pictures = [each for each in entries if Path(each["file"]).suffix.lower() in SUFFIXES]
    assert len(pictures) > 90
    too_large = {each["file"] for each in pictures if each.get("size", [0, 0])[0] * each.get("size", [0, 0])[1] > limit}
    damaged = {each["file"] for each in pictures if not each["decodes"]}
    return {f"train/{label.name}/{name}" for name in damaged | too_large | UNFINISHED}


def test_exactly_those_that_cannot_be_used_are_named_counted_and_left_out(
    hard: Path, unusable: set[str], tmp_path: Path
) -> None:
    chosen = {**QUICK, "max_bad_pictures": "200"}
    done = doors.train(tmp_path / "job", chosen, {"training": hard})
    assert done.code == 0, done.log
    facts = json.loads((done.base / "output/data/run.json").read_text(encoding="utf-8"))
    assert set(facts["left_out"]) == unusable
    assert set(re.findall(r"^Left out (\S+): ", done.log, re.MULTILINE)) == unusable
    page = (done.base / "output/data/report.html").read_text(encoding="utf-8")
    assert f"{len(unusable)} of them damaged and left out" in page
    assert "Traceback" not in done.log
    artifact.load(done.model)


def test_more_of_them_than_allowed_end_the_job_with_their_names(hard: Path, unusable: set[str], tmp_path: Path) -> None:
    chosen = {**QUICK, "max_bad_pictures": "2"}
    done = doors.train(tmp_path / "job", chosen, {"training": hard})
    assert done.code == 1, done.log
    said = re.fullmatch(r"(\d+) pictures cannot be used, and max_bad_pictures=2: (.*)", done.failure)
    assert said, done.failure
    named = re.findall(r"train/\S+", said[2])
    assert len(named) == min(int(said[1]), 10) >= 3
    assert set(named) <= unusable
    assert not (done.model / "model.safetensors").exists()
