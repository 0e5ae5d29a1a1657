"""Users' mistakes in training: each ends the job with one sentence that says what was wrong and what to do."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import doors
from doors import QUICK, needs_engine
from image_classifier import networks

Channels = dict[str, Path]


@dataclass(frozen=True)
class Mistake:
    """Something a user does wrong, and the words that must come back."""

    name: str
    says: tuple[str, ...]
    chosen: dict[str, str] = field(default_factory=dict)
    data: Callable[[Path, Path], Channels] | None = None


def pick(pictures: Path, folder: Path, wanted: dict[str, str], each: int = 3) -> Channels:
    """A channel with some pictures of some classes (by first digits) in each split."""
    for split, numbers in wanted.items():
        for label in sorted((pictures / split).iterdir()):
            if label.name[2] in numbers:
                place = folder / split / label.name
                place.mkdir(parents=True)
                for path in sorted(label.iterdir())[:each]:
                    shutil.copy(path, place)
    return {"training": folder}


def no_training_channel(pictures: Path, _folder: Path) -> Channels:
    return {"images": pictures}


def no_folders(pictures: Path, folder: Path) -> Channels:
    (folder / "train").mkdir(parents=True)
    shutil.copy(next((pictures / "train").glob("*/*")), folder / "train")
    return {"training": folder}


def one_class(pictures: Path, folder: Path) -> Channels:
    return pick(pictures, folder, {"train": "1"})


def one_picture_of_a_class(pictures: Path, folder: Path) -> Channels:
    return pick(pictures, folder, {"train": "12"}, each=1)


def class_only_in_test(pictures: Path, folder: Path) -> Channels:
    return pick(pictures, folder, {"train": "12", "valid": "12", "test": "123"})


def class_missing_in_validation(pictures: Path, folder: Path) -> Channels:
    return pick(pictures, folder, {"train": "123", "valid": "12"})


def truncated_picture(pictures: Path, folder: Path) -> Channels:
    channels = pick(pictures, folder, {"train": "12", "valid": "12"})
    broken = folder / "train/001.Circle/002.png"
    broken.write_bytes(broken.read_bytes()[:120])
    return channels


def text_as_picture(pictures: Path, folder: Path) -> Channels:
    channels = pick(pictures, folder, {"train": "12", "valid": "12"})
    (folder / "valid/002.Cross/notes.jpg").write_text("not a picture")
    return channels


def weights_of_another_network(pictures: Path, folder: Path) -> Channels:
    folder.mkdir()
    state = networks.build("mobilenet_v3_small", 10).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "resnet18.safetensors")
    return {"training": pictures, "pretrained": folder}


def weights_that_are_damaged(pictures: Path, folder: Path) -> Channels:
    folder.mkdir()
    (folder / "resnet18.pth").write_bytes(b"\x80\x02 no weights")
    return {"training": pictures, "pretrained": folder}


def weights_with_code(pictures: Path, folder: Path) -> Channels:
    folder.mkdir()
    torch.save(networks.build("resnet18", 10), folder / "resnet18.pth")
    return {"training": pictures, "pretrained": folder}


FINE_TUNE = {"pretrained": "true"}
MISTAKES = [
    Mistake("unknown name", ("Unknown hyperparameter epoch;", "did you mean epochs?"), {"epoch": "3"}),
    Mistake("misspelt name", ("learnig-rate", "did you mean learning_rate?"), {"learnig-rate": "0.1"}),
    Mistake("below the range", ("epochs=0", "greater than or equal to 1"), {"epochs": "0"}),
    Mistake("above the range", ("learning_rate", "less than or equal to 10"), {"learning_rate": "1000"}),
    Mistake("not a number", ("batch_size='many'", "integer"), {"batch_size": "many"}),
    Mistake("no such choice", ("optimizer='lion'", "adam"), {"optimizer": "lion"}),
    Mistake("no such network", ("rchitecture='resnet19'", "did you mean", "resnet18"), {"architecture": "resnet19"}),
    Mistake("wishes that contradict", ("reeze_backbone=true", "pretrained=false"), {"freeze_backbone": "true"}),
    Mistake("no training channel", ("no training data", "images", "training"), data=no_training_channel),
    Mistake("no class folders", ("folder(s) with pictures", "at least two"), data=no_folders),
    Mistake("one class", ("1 folder(s) with pictures", "at least two"), data=one_class),
    Mistake("one picture", ("001.Circle", "single training picture"), data=one_picture_of_a_class),
    Mistake("class only in test", ("train and test differ", "003.Dots"), data=class_only_in_test),
    Mistake("class not in validation", ("train and validation differ", "003.Dots"), data=class_missing_in_validation),
    Mistake(
        "truncated picture",
        ("train/001.Circle/002.png", "damaged", "Remove or replace"),
        {"max_bad_pictures": "0"},
        truncated_picture,
    ),
    Mistake(
        "text as picture", ("valid/002.Cross/notes.jpg", "not a picture"), {"max_bad_pictures": "0"}, text_as_picture
    ),
    Mistake("other weights", ("architecture=resnet18", "missing"), FINE_TUNE, weights_of_another_network),
    Mistake("damaged weights", ("resnet18.pth",), FINE_TUNE, weights_that_are_damaged),
    Mistake("weights with code", ("resnet18.pth", "state_dict()"), FINE_TUNE, weights_with_code),
    Mistake(
        "learning rate too high",
        ("diverged", "lower learning_rate than 10"),
        {
            "architecture": "alexnet",
            "image_size": "64",
            "optimizer": "sgd",
            "learning_rate": "10",
            "schedule": "constant",
        },
    ),
]


def is_one_sentence(text: str) -> bool:
    """Short enough for SageMaker, one line, ended, without a word for programmers."""
    ended = text.rstrip().endswith((".", "?"))
    return ended and len(text) <= 1024 and "\n" not in text.strip() and "Traceback" not in text


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_train_refuses(mistake: Mistake, pictures: Path, tmp_path: Path) -> None:
    channels = mistake.data(pictures, tmp_path / "data") if mistake.data else {"training": pictures}
    done = doors.train(tmp_path / "base", {**QUICK, **mistake.chosen}, channels)
    assert done.code == 1, done.log
    assert is_one_sentence(done.failure), done.failure
    for words in mistake.says:
        assert words in done.failure
    assert done.failure.strip() in done.log
    assert "Traceback" not in done.log
    assert not (done.model / "model.safetensors").exists()


@pytest.mark.parametrize("content", ["{LocalPath: /tmp}", '["/tmp"]'])
def test_train_refuses_a_configuration_that_is_no_json_object(content: str, pictures: Path, tmp_path: Path) -> None:
    done = doors.train(tmp_path, QUICK, {"training": pictures}, configs={"checkpointconfig": content})
    assert done.code == 1, done.log
    assert is_one_sentence(done.failure), done.failure
    assert "checkpointconfig.json" in done.failure
    assert "JSON object" in done.failure


@pytest.mark.parametrize(("name", "value"), [("CLASSIFIER_MAX_PIXELS", "0"), ("USE_SMDEBUG", "perhaps")])
def test_train_refuses_an_environment_variable_it_cannot_use(
    name: str, value: str, pictures: Path, tmp_path: Path
) -> None:
    done = doors.train(tmp_path, QUICK, {"training": pictures}, environment={name: value})
    assert done.code == 1, done.log
    assert is_one_sentence(done.failure), done.failure
    assert f"{name}='{value}'" in done.failure


@needs_engine
def test_train_with_nothing_mounted_says_what_it_needs() -> None:
    done = doors.plain("train")
    assert done.returncode == 1
    assert "There is no training data (channels found: none); give one channel `training`" in done.stdout
    assert "Traceback" not in done.stdout
