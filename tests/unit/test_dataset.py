"""From channels to labelled pictures, in every layout people use."""

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.errors import UserError
from image_classifier.training import chronicle, dataset
from image_classifier.training.dataset import Split, hold_out


def empty(root: Path, *names: str) -> Path:
    """Files that look like pictures: nothing here opens them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def classes(root: Path, count: int = 4, names: tuple[str, ...] = ("amber", "blue")) -> Path:
    return empty(root, *(f"{name}/{number}.png" for name in names for number in range(count)))


def find(channels: dict[str, Path]) -> dataset.Dataset:
    return dataset.find(channels, 0.25, 0)


def refusal(channels: dict[str, Path]) -> str:
    with pytest.raises(UserError) as caught:
        find(channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("channel", ["training", "train"])
@pytest.mark.parametrize("folder", ["valid", "validation", "val"])
def test_one_channel_can_hold_all_splits(tmp_path: Path, channel: str, folder: str) -> None:
    classes(tmp_path / "train", 4)
    classes(tmp_path / folder, 2)
    classes(tmp_path / "test", 1)
    data = find({channel: tmp_path})
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 2)
    assert data.classes == ("amber", "blue")


@pytest.mark.parametrize("train", ["training", "train"])
@pytest.mark.parametrize("validation", ["validation", "valid", "val"])
def test_each_split_can_have_its_channel(tmp_path: Path, train: str, validation: str) -> None:
    channels = {
        train: classes(tmp_path / "a", 3),
        validation: classes(tmp_path / "b", 2),
        "test": classes(tmp_path / "c", 1),
    }
    data = find(channels)
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 4, 2)


def test_splits_of_one_channel_and_of_others_come_together(tmp_path: Path) -> None:
    classes(tmp_path / "all" / "train", 3)
    data = find({"training": tmp_path / "all", "validation": classes(tmp_path / "b", 2)})
    assert (len(data.train), len(data.validation)) == (6, 4)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = find({"train": classes(tmp_path, 4, ("bus", "train"))})
    assert data.classes == ("bus", "train")


def test_other_channels_are_left_alone(tmp_path: Path) -> None:
    data = find({"train": classes(tmp_path / "a"), "pretrained": empty(tmp_path / "p", "resnet18.pth")})
    assert len(data.classes) == 2


def test_targets_follow_the_sorted_class_names(tmp_path: Path) -> None:
    data = find({"train": classes(tmp_path / "a", 4, ("b", "a", "C"))})
    assert data.classes == ("C", "a", "b")
    assert all(
        data.classes[target] == path.parent.name
        for path, target in zip(data.train.paths, data.train.targets, strict=True)
    )


def test_hidden_files_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    classes(tmp_path, 3)
    empty(tmp_path, "amber/.hidden.png", "amber/._1.png", "amber/notes.txt", "amber/Thumbs.db", ".cache/x/1.png")
    empty(tmp_path, "amber/.ipynb_checkpoints/1.png", "readme.md", "picture_outside.png")
    (tmp_path / "amber" / "folder.png").mkdir()
    data = find({"train": tmp_path})
    assert data.classes == ("amber", "blue")
    assert len(data.train) + len(data.validation) == 6


def test_upper_case_endings_and_nested_folders_are_pictures(tmp_path: Path) -> None:
    empty(tmp_path, "a/1.JPG", "a/2.Jpeg", "a/x/3.PNG", "a/x/y/4.webp", "b/1.TIF", "b/2.GIF")
    data = dataset.find({"train": tmp_path, "validation": tmp_path}, 0.1, 0)
    assert Counter(data.train.targets) == {0: 4, 1: 2}


def test_a_missing_validation_split_is_held_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = dataset.find({"train": classes(tmp_path, 20)}, 0.25, 7)
    assert (len(data.train), len(data.validation)) == (30, 10)
    assert Counter(data.validation.targets) == {0: 5, 1: 5}
    assert not set(data.train.paths) & set(data.validation.paths)
    assert "10 of 40 training pictures are held out" in caplog.text
    assert "seed 7" in caplog.text


def test_the_same_seed_holds_out_the_same_pictures_and_another_seed_others(tmp_path: Path) -> None:
    channels = {"train": classes(tmp_path, 20)}
    first, again, other = (dataset.find(channels, 0.25, seed).validation.paths for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_splits_whose_classes_differ_are_refused_with_the_names(tmp_path: Path) -> None:
    train = classes(tmp_path / "a", 2, ("amber", "blue", "coral"))
    validation = classes(tmp_path / "b", 2, ("amber", "blue", "dark"))
    message = refusal({"train": train, "validation": validation})
    assert "validation has no pictures of coral" in message
    assert "train has no pictures of dark, which validation has" in message


def test_many_differing_classes_are_counted(tmp_path: Path) -> None:
    names = tuple(f"c{number}" for number in range(9))
    message = refusal({"train": classes(tmp_path / "a", 2, names), "test": classes(tmp_path / "b", 2, names[:2])})
    assert "test has no pictures of c2, c3, c4, c5, c6 and 2 more" in message


def test_an_empty_class_folder_counts_as_missing(tmp_path: Path) -> None:
    validation = classes(tmp_path / "b", 2)
    (classes(tmp_path / "a", 2) / "coral").mkdir()
    assert find({"train": tmp_path / "a", "validation": validation}).classes == ("amber", "blue")


def test_no_channel_at_all_is_refused_with_the_layout() -> None:
    message = refusal({})
    assert "There is no training data (channels found: none)" in message
    assert "train/, valid/ and test/" in message


def test_only_other_channels_are_named(tmp_path: Path) -> None:
    assert "channels found: data, test" in refusal({"data": tmp_path, "test": tmp_path})


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path} holds 0 folder(s) with pictures" in refusal({"train": tmp_path})


def test_pictures_without_class_folders_are_refused(tmp_path: Path) -> None:
    assert "holds 0 folder(s)" in refusal({"train": empty(tmp_path, "1.png", "2.png")})


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert "holds 1 folder(s)" in refusal({"train": classes(tmp_path, 4, ("amber",))})


def test_a_class_of_one_picture_cannot_be_held_out(tmp_path: Path) -> None:
    empty(classes(tmp_path, 4), "coral/only.png")
    assert "Class coral has a single training picture" in refusal({"train": tmp_path})


def test_a_class_of_one_picture_is_fine_with_a_validation_split(tmp_path: Path) -> None:
    folder = classes(tmp_path, 1)
    assert len(find({"train": folder, "validation": folder}).train) == 2


def test_the_counts_are_described(tmp_path: Path) -> None:
    data = find({"train": classes(tmp_path / "a", 4), "test": classes(tmp_path / "b", 3)})
    assert data.describe() == "Data: 2 classes; 6 pictures to train on, 2 to validate, 6 to test."


def test_thousands_of_classes_are_sorted_out_in_one_pass_over_the_pictures() -> None:
    names = tuple(f"{number:04d}" for number in range(2000))
    train, validation = (
        Split(
            tuple(Path(f"{use}/{name}/{n}.png") for name in names for n in range(count)),
            tuple(index for index in range(len(names)) for _ in range(count)),
        )
        for use, count in (("train", 200), ("valid", 2))
    )
    data = dataset.Dataset(names, train, validation, None)
    started = time.process_time()
    needed = data.needed()
    assert chronicle.of_data(data)["class_counts"] == train.counts() == (200,) * 2000
    assert time.process_time() - started < 15, "400,000 pictures, not 2,000 times as many"
    assert len(needed) == 4000
    assert needed["validation pictures of class 0007"] == {Path("valid/0007/0.png"), Path("valid/0007/1.png")}
    assert len(needed["training pictures of class 1999"]) == 200


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.89),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_class_stays_in_both_parts_and_nothing_is_lost(counts: list[int], fraction: float, seed: int) -> None:
    rows = [(Path(f"{target}/{n}.png"), target) for target, count in enumerate(counts) for n in range(count)]
    split = Split(tuple(path for path, _ in rows), tuple(target for _, target in rows))
    train, held = hold_out(split, fraction, seed)
    assert set(train.targets) == set(held.targets) == set(range(len(counts)))
    assert sorted(train.paths + held.paths) == sorted(split.paths)
    for target, count in enumerate(counts):
        assert abs(held.targets.count(target) - fraction * count) <= 1


@pytest.mark.parametrize("mode", ["File", "FastFile", None])
def test_channels_that_are_folders_are_read(mode: str | None) -> None:
    dataset.check_modes({"training": {"TrainingInputMode": mode}, "other": None})


def test_a_pipe_is_refused_with_the_mode_to_use() -> None:
    with pytest.raises(UserError, match="channel training comes in Pipe mode"):
        dataset.check_modes({"training": {"TrainingInputMode": "Pipe"}})
