"""A disk that is full while the artifact is written: the failure names the file, and no half of it stays."""

from pathlib import Path

import pytest
from safetensors import SafetensorError

from image_classifier import artifact, networks
from image_classifier.config import Config
from image_classifier.errors import ExitCode, exit_code, sentence
from image_classifier.images import Preprocessing

TINY = "shufflenet_v2_x0_5"
CONFIG = Config(architecture=TINY, classes=("a", "b"), preprocessing=Preprocessing(image_size=32))


def failure(folder: Path) -> Exception:
    with pytest.raises(OSError, match="No space left") as caught:
        artifact.save(folder, networks.build(TINY, 2), CONFIG)
    assert exit_code(caught.value) == ExitCode.PLATFORM
    return caught.value


@pytest.mark.parametrize("name", ["config.json", "labels.json", "metrics.json", "README.md"])
def test_a_text_that_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f".{name}.partial").symlink_to("/dev/full")  # the kernel's own full disk
    assert sentence(failure(tmp_path)) == (
        f"The disk is full while writing {tmp_path / name}; give the job a larger volume."
    )
    assert not list(tmp_path.glob(".*"))


def test_weights_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_weights: object, path: Path, metadata: object = None) -> None:
        path.write_bytes(b"half a model")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(artifact, "save_file", fill)  # it would replace /dev/full by a file
    assert sentence(failure(tmp_path)) == (
        f"The disk is full while writing {tmp_path / 'model.safetensors'}; give the job a larger volume."
    )
    assert list(tmp_path.iterdir()) == []


def test_another_error_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_arguments: object, **_named: object) -> None:
        raise SafetensorError("a bug")

    monkeypatch.setattr(artifact, "save_file", break_down)
    with pytest.raises(SafetensorError, match="a bug"):
        artifact.save(tmp_path, networks.build(TINY, 2), CONFIG)
