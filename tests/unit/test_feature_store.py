"""Kept features are found again for the same data and weights, and for no others."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from image_classifier import networks
from image_classifier.errors import UserError
from image_classifier.images import Preprocessing
from image_classifier.training import feature_store
from image_classifier.training.dataset import Split
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.feature_store import FeatureStore
from image_classifier.training.features import Extractor
from image_classifier.training.rejects import Rejects
from image_classifier.training.sources import FeatureSource, PictureSource
from image_classifier.training.stopping import Stop

ARCHITECTURE = "shufflenet_v2_x0_5"
TENSORS = {"features": torch.arange(6.0).view(1, 3, 2), "targets": torch.tensor([0, 1, 1])}


@pytest.fixture
def pictures(tmp_path: Path, folders: Callable[..., Path]) -> PictureSource:
    paths = tuple(sorted(folders(tmp_path / "pictures", {"amber": 3, "blue": 2}).rglob("*.png")))
    return PictureSource(Split(paths, (0, 0, 0, 1, 1)), Preprocessing(image_size=32), 10_000, 1)


def extract(pictures: PictureSource, store: FeatureStore, seed: int = 0) -> FeatureSource:
    torch.manual_seed(seed)
    network = networks.build(ARCHITECTURE, 2)
    evaluator = Evaluator(torch.device("cpu"), 4, Stop())
    return Extractor(network, ARCHITECTURE, evaluator, 5, store).extract(pictures, "Features")


def test_what_was_kept_is_found_in_the_folder_or_in_the_channel(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "a").save("x", TENSORS)
    for store in (FeatureStore(tmp_path / "a"), FeatureStore(tmp_path / "b", channel=tmp_path / "a")):
        kept = store.load("x")
        assert kept is not None
        assert all(torch.equal(kept[name], TENSORS[name]) for name in TENSORS)
        assert store.load("y") is None


def test_a_damaged_file_is_said_and_counts_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path)
    store.save("x", TENSORS)
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:40])
    assert store.load("x") is None
    assert "damaged" in caplog.text


def test_a_place_that_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    FeatureStore(tmp_path / "file").save("x", TENSORS)
    assert "could not be kept" in caplog.text
    assert (tmp_path / "file").read_text() == "in the way"


def test_what_jobs_of_long_ago_kept_goes_away_and_what_this_one_uses_stays(tmp_path: Path) -> None:
    for job in range(5):
        FeatureStore(tmp_path).save(f"old-{job}", TENSORS)
        os.utime(tmp_path / f"old-{job}.safetensors", (job, job))
    store = FeatureStore(tmp_path)
    assert store.load("old-1") is not None
    for name in ("train", "validation", "test", "probe"):
        store.save(name, TENSORS)
    left = ["old-1", "old-2", "old-3", "old-4", "probe", "test", "train", "validation"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == left


def test_what_a_killed_job_left_half_written_goes_away(tmp_path: Path) -> None:
    FeatureStore(tmp_path).save("x", TENSORS)
    (tmp_path / "another-job.partial").write_bytes(b"half")
    FeatureStore(tmp_path).tidy()
    FeatureStore(tmp_path / "none yet").tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_second_run_takes_the_features_of_the_first(
    pictures: PictureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path / "store")
    first = extract(pictures, store)
    monkeypatch.setattr(PictureSource, "batches", lambda *_: pytest.fail("a picture was read again"))
    second = extract(pictures, store)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.targets, second.targets)


def test_other_weights_or_pictures_are_computed_anew(pictures: PictureSource, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    first = extract(pictures, store)
    assert not torch.equal(first.features, extract(pictures, store, seed=1).features)
    shutil.copy(pictures.split.paths[0], pictures.split.paths[1])
    assert not torch.equal(first.features, extract(pictures, store).features)
    assert len(list((tmp_path / "store").iterdir())) == 3


def test_the_names_of_the_pictures_do_not_count(pictures: PictureSource, tmp_path: Path) -> None:
    moved = tuple(shutil.copy(path, tmp_path / f"{number}.png") for number, path in enumerate(pictures.split.paths))
    weights = {"a": torch.ones(2)}
    assert feature_store.key(weights, pictures.split.paths) == feature_store.key(weights, [Path(p) for p in moved])
    assert feature_store.key(weights, pictures.split.paths, 1) != feature_store.key(weights, pictures.split.paths, 2)


def test_a_picture_that_the_first_run_left_out_is_named_by_the_second_too(
    pictures: PictureSource, tmp_path: Path
) -> None:
    bad = pictures.split.paths[1]
    bad.write_bytes(b"no picture")
    store = FeatureStore(tmp_path / "store")
    first, second = (
        (extract(replace(pictures, rejects=rejects), store), rejects)
        for rejects in (Rejects(limit=1), Rejects(limit=1))
    )
    assert first[0].targets.tolist() == second[0].targets.tolist() == [0, 0, 1, 1]
    assert torch.equal(first[0].features, second[0].features)
    assert first[1].found == second[1].found
    assert list(second[1].found) == [bad]
    with pytest.raises(UserError, match="max_bad_pictures=0"):
        extract(replace(pictures, rejects=Rejects(limit=0)), store)
