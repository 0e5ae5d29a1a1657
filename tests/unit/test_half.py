"""16-bit numbers for GPUs: measured, noted in the artifact, chosen by the note. The code runs on a CPU, too."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from image_classifier import artifact, gpu
from image_classifier.compiled import Variant
from image_classifier.config import fingerprint
from image_classifier.contract import Settings
from image_classifier.gpu import Devices, Gpu
from image_classifier.half import Half, Halves
from image_classifier.networks import NUMBERS
from image_classifier.serving import engines
from image_classifier.training import compiling, halving
from image_classifier.training.dataset import Split
from image_classifier.training.halving import note_halves
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop

CPU = torch.device("cpu")
GPU = "cuda:0"
GOOD = Variant(used=True, why="it is good", pictures=300, accuracy=0.9, agreement=1.0)
BAD = Variant(used=False, why="it is bad", pictures=300, accuracy=0.5, agreement=0.5)
T4 = Gpu("Tesla T4", (7, 5), 16 << 30)
A10 = Gpu("NVIDIA A10G", (8, 6), 24 << 30)


def settings(engine: str) -> Settings:
    return Settings.from_environment({"CLASSIFIER_ENGINE": engine})


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained / "model", tmp_path / "copy")


@pytest.fixture
def validation(folders: Callable[..., Path], tmp_path: Path, copy: Path) -> PictureSource:
    """Thirty pictures of the model's three classes."""
    root = folders(tmp_path / "valid", {"01.amber": 10, "02.blue": 10, "03.dark_grey": 10}, seed=9)
    paths = tuple(sorted(root.rglob("*.png")))
    classes = artifact.load_config(copy).classes
    targets = tuple(classes.index(path.parent.name) for path in paths)
    return PictureSource(Split(paths, targets), artifact.load_config(copy).preprocessing, 10**8, 2)


def note(folder: Path, variants: dict[Half, Variant]) -> None:
    config = artifact.load_config(folder)
    record = Halves(source=fingerprint(folder, config), variants=variants)
    artifact.write_config(folder, config.model_copy(update={"half": record}))


@pytest.mark.parametrize(
    ("variants", "engine", "device", "half", "word"),
    [
        ({Half.FP16: GOOD, Half.BF16: GOOD}, "auto", A10, Half.FP16, "Engine: PyTorch fp16, on cuda:0; it is good."),
        ({Half.FP16: BAD, Half.BF16: GOOD}, "auto", A10, Half.BF16, "it is good; fp16 is not used: it is bad"),
        ({Half.FP16: BAD, Half.BF16: GOOD}, "auto", T4, None, "bf16 is not used: this GPU has none"),
        ({Half.FP16: BAD, Half.BF16: BAD}, "auto", A10, None, "fp32, as it was trained, on cuda:0; fp16 is not used"),
        ({}, "auto", A10, None, "on a GPU, `python -m image_classifier.compile MODEL_DIR DATA_DIR` makes them"),
        ({Half.FP16: GOOD}, "eager", A10, None, "CLASSIFIER_ENGINE=eager"),
        ({Half.FP16: BAD}, "fp16", A10, Half.FP16, "CLASSIFIER_ENGINE=fp16; it is bad"),
        ({}, "bf16", A10, Half.BF16, "CLASSIFIER_ENGINE=bf16; what it costs was not measured"),
    ],
)
def test_a_gpu_computes_in_what_passed_and_the_reason_is_said(
    copy: Path,
    variants: dict[Half, Variant],
    engine: str,
    device: Gpu,
    half: Half | None,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu, "find", lambda: Devices("550.1", (device,)))
    if variants:
        note(copy, variants)
    choice = engines.choose(copy, settings(engine), GPU)
    assert (choice.kind, choice.device, choice.half) == (None, GPU, half)
    assert word in choice.describe()


def test_what_was_measured_with_other_weights_does_not_count(copy: Path) -> None:
    note(copy, {Half.FP16: GOOD})
    weights = copy / artifact.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    choice = engines.choose(copy, settings("auto"), GPU)
    assert choice.half is None
    assert "its measurements in 16-bit numbers were made from another" in choice.why


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("half", [*Half])
def test_the_network_in_16_bits_answers_nearly_the_same(copy: Path, pixels: NDArray[np.uint8], half: Half) -> None:
    exact = engines.load(copy, settings("eager"), engines.CPU, 1).logits(pixels)
    engine: Any = engines.load(copy, settings(half.value), engines.CPU, 1)
    answer = engine.logits(pixels)
    assert {each.dtype for each in engine._network.network.parameters()} == {NUMBERS[half]}
    assert answer.dtype == np.float32
    difference = np.abs(answer - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.05  # other numbers, and near


def test_a_cpu_does_not_compute_in_16_bits_unless_asked(copy: Path) -> None:
    note(copy, dict.fromkeys(Half, GOOD))
    assert engines.choose(copy, settings("auto"), engines.CPU).half is None


def test_both_are_measured_by_the_rule_of_int8_and_noted(
    copy: Path, validation: PictureSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiling, "ENOUGH", 30)
    before = artifact.load_config(copy)
    note_halves(copy, validation, Stop(), CPU)
    after = artifact.load_config(copy)
    assert after.half is not None
    assert after.model_copy(update={"half": None}) == before
    assert after.half.source == fingerprint(copy, after)
    for half, variant in after.half.variants.items():
        assert (variant.used, variant.pictures, variant.agreement) == (True, 30, 1.0)
        assert f"On a GPU in {half}, used: accuracy {variant.accuracy:.4f} (fp32 " in caplog.text
    assert list(after.half.variants) == [*Half]
    assert engines.choose(copy, settings("auto"), GPU).half is Half.FP16


def test_too_few_pictures_are_noted_and_decide_for_fp32(copy: Path, validation: PictureSource) -> None:
    note_halves(copy, validation, Stop(), CPU)
    choice = engines.choose(copy, settings("auto"), GPU)
    assert choice.half is None
    assert "fp16 is not used: accuracy" in choice.why
    assert "fewer than 200 cannot show 0.99" in choice.why


def test_a_layer_that_knows_no_such_numbers_leaves_the_artifact_as_it_is(
    copy: Path, validation: PictureSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(halving.NUMBERS, Half.BF16, torch.int8)
    note_halves(copy, validation, Stop(), CPU)
    assert artifact.load_config(copy).half is None
    assert "16-bit numbers are not measured, so `serve` computes in fp32 on a GPU: " in caplog.text


def test_a_stop_leaves_no_note(copy: Path, validation: PictureSource, stop_at: Callable[[int], Stop]) -> None:
    note(copy, {Half.FP16: GOOD})
    note_halves(copy, validation, stop_at(3), CPU)
    assert artifact.load_config(copy).half is None


def test_an_artifact_of_an_earlier_version_has_no_note(copy: Path) -> None:
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"half": null', '"future": null'))
    assert artifact.load_config(copy).half is None
