"""Which engine runs the network, and why; the variants compute what the network does."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from image_classifier import artifact, compiled, images, networks
from image_classifier.compiled import Compiled, Kind, Network, Variant
from image_classifier.config import Config, Preprocessing, fingerprint
from image_classifier.contract import Settings
from image_classifier.errors import UserError
from image_classifier.serving import engines
from image_classifier.training import compiling
from image_classifier.training.compiling import Measured

SIZE = 32
PREPROCESSING = Preprocessing(image_size=SIZE)
GOOD = Variant(used=True, why="it is good", pictures=300, accuracy=0.9, agreement=1.0)
BAD = Variant(used=False, why="it is bad", pictures=300, accuracy=0.5, agreement=0.5)


def settings(engine: str) -> Settings:
    return Settings.from_environment({"CLASSIFIER_ENGINE": engine})


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return networks.build("resnet18", 4).eval()


@pytest.fixture(scope="module")
def made(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with an fp32 variant."""
    folder = tmp_path_factory.mktemp("made")
    artifact.save(folder, network, Config(architecture="resnet18", classes=tuple("abcd"), preprocessing=PREPROCESSING))
    (folder / compiled.FOLDER).mkdir()
    model = compiling.convert(network, PREPROCESSING)
    compiled.openvino().save_model(model, compiled.path(folder, Kind.FP32), compress_to_fp16=False)
    note(folder, {Kind.FP32: GOOD})
    return folder


def note(folder: Path, variants: dict[Kind, Variant]) -> None:
    config = artifact.load_config(folder)
    record = Compiled(source=fingerprint(folder, config), variants=variants)
    artifact.write_config(folder, config.model_copy(update={"compiled": record}))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def test_the_compiled_network_gives_the_logits_of_the_network(made: Path, network: torch.nn.Module) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    answer = Network(compiled.path(made, Kind.FP32), 1).logits(pixels)
    inputs = images.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2), PREPROCESSING)
    with torch.inference_mode():
        wanted = network(inputs).numpy()
    assert answer.dtype == np.float32
    assert np.abs(answer - wanted).max() < 1e-4
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3  # numbers that could differ


@pytest.mark.parametrize(
    ("variants", "engine", "kind", "word"),
    [
        ({Kind.INT8: GOOD, Kind.FP32: GOOD}, "auto", Kind.INT8, "it is good"),
        ({Kind.INT8: BAD, Kind.FP32: GOOD}, "auto", Kind.FP32, "int8 is not used: it is bad"),
        ({Kind.INT8: BAD, Kind.FP32: BAD}, "auto", None, "fp32 is not used: it is bad"),
        ({Kind.INT8: BAD, Kind.FP32: GOOD}, "int8", Kind.INT8, "CLASSIFIER_ENGINE=int8"),
        ({Kind.INT8: GOOD, Kind.FP32: GOOD}, "fp32", Kind.FP32, "CLASSIFIER_ENGINE=fp32"),
        ({Kind.INT8: GOOD, Kind.FP32: GOOD}, "eager", None, "CLASSIFIER_ENGINE=eager"),
        ({}, "auto", None, "no compiled variants"),
    ],
)
def test_the_fastest_engine_that_passed_is_chosen_and_the_reason_said(
    copy: Path, variants: dict[Kind, Variant], engine: str, kind: Kind | None, word: str
) -> None:
    note(copy, variants)
    choice = engines.choose(copy, settings(engine), engines.CPU)
    assert choice.kind is kind
    assert word in choice.describe()


def test_a_gpu_runs_the_network_with_torch(made: Path) -> None:
    choice = engines.choose(made, settings("auto"), "cuda:0")
    assert (choice.kind, choice.device) == (None, "cuda:0")


def test_an_artifact_of_an_earlier_version_is_served_with_torch(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text())
    del content["compiled"]
    (copy / "config.json").write_text(json.dumps(content))
    assert engines.choose(copy, settings("auto"), engines.CPU).kind is None
    engine = engines.load(copy, settings("auto"), engines.CPU, 1)
    assert engine.logits(np.zeros((2, SIZE, SIZE, 3), np.uint8)).shape == (2, 4)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


class Counted(Network):
    """Networks that say with how many threads they were made, and how often they ran."""

    made: ClassVar[list[int]] = []
    ran: ClassVar[list[int]] = []
    most: ClassVar[int] = 8

    def __init__(self, file: Path, threads: int) -> None:
        if threads > self.most:
            raise MemoryError
        super().__init__(file, threads)
        self._threads = threads
        self.made.append(threads)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.ran.append(self._threads)
        return super().logits(pixels)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr(compiled, "Network", Counted)
    for name in ("made", "ran"):
        monkeypatch.setattr(Counted, name, [])
    return Counted


def widened() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon and "_widen" in thread.name:
            thread.join(60)


def test_a_request_alone_gets_the_same_numbers_from_more_threads(
    made: Path, pixels: NDArray[np.uint8], counted: type[Counted]
) -> None:
    engine = engines.load(made, settings("fp32"), engines.CPU, 1, alone=2)
    narrow = engine.logits(pixels)
    assert counted.made == [1]  # no start waits for the other form
    engine.logits(pixels, alone=True)
    widened()
    assert counted.made == [1, 2]
    assert np.abs(engine.logits(pixels, alone=True) - narrow).max() < 1e-5
    engine.logits(pixels)
    assert counted.ran[-2:] == [2, 1]


def test_without_memory_for_more_threads_a_request_alone_is_answered_all_the_same(
    made: Path,
    pixels: NDArray[np.uint8],
    counted: type[Counted],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(counted, "most", 1)
    engine = engines.load(made, settings("fp32"), engines.CPU, 1, alone=2)
    for _ in range(2):
        engine.logits(pixels, alone=True)
        widened()
    assert caplog.text.count("no more threads than others: Out of memory") == 1
    assert set(counted.ran) == {1}


def other_weights(folder: Path) -> None:
    weights = folder / artifact.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")


def other_preprocessing(folder: Path) -> None:
    config = artifact.load_config(folder)
    changed = PREPROCESSING.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    artifact.write_config(folder, config.model_copy(update={"preprocessing": changed}))


@pytest.mark.parametrize("change", [other_weights, other_preprocessing])
def test_variants_of_another_model_are_never_served(copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    choice = engines.choose(copy, settings("auto"), engines.CPU)
    assert choice.kind is None
    assert "made from another" in choice.why
    with pytest.raises(UserError, match="made from another"):
        engines.choose(copy, settings("fp32"), engines.CPU)


def test_a_variant_that_is_not_there_is_refused_with_the_remedy(made: Path) -> None:
    with pytest.raises(UserError, match=r"there is no int8 variant in it; make it anew with `python -m image_class"):
        engines.choose(made, settings("int8"), engines.CPU)


@pytest.mark.parametrize(("content", "reason"), [(None, "is missing"), (b"<net", "is damaged")])
def test_a_damaged_variant_is_one_sentence(copy: Path, content: bytes | None, reason: str) -> None:
    file = compiled.path(copy, Kind.FP32)
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        engines.load(copy, settings("auto"), engines.CPU, 1)
    assert "\n" not in str(caught.value)


def test_a_worker_with_a_compiled_network_imports_no_torch_and_no_telemetry(made: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from image_classifier.serving import engines, worker;"
        "from image_classifier.contract import Settings;"
        "engines.load(Path(sys.argv[1]), Settings.from_environment({}), 'cpu', 1);"
        "print([name for name in ('torch', 'openvino_telemetry.main', 'nncf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_signal_is_heard_after_networks_came_and_went(made: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from image_classifier import compiled;"
        "first, second = (compiled.Network(Path(sys.argv[1]), 1) for _ in range(2)); del first; del second;"
        "signal.signal(signal.SIGTERM, lambda *_: print('heard')); os.kill(os.getpid(), signal.SIGTERM)"
    )
    file = compiled.path(made, Kind.FP32)
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def measured(count: int, right: int, agreeing: int) -> Measured:
    """`right` of int8's labels are right (fp32's all are), and `agreeing` are those of fp32."""
    targets = np.zeros(count, np.int64)
    exact = np.tile([1.0, 0.0, 0.0], (count, 1)).astype(np.float32)
    quantized = exact.copy()
    quantized[min(right, agreeing) :] = [0.0, 1.0, 0.0]
    return Measured(targets, {Kind.FP32: exact, Kind.INT8: quantized})


@pytest.mark.parametrize(
    ("count", "same", "used", "word"),
    [
        (1000, 1000, True, "accuracy 1.0000 (fp32 1.0000), agreement 1.0000 on 1000 validation pictures"),
        (1000, 995, True, "agreement 0.9950"),
        (1000, 994, False, "accuracy 0.9940 (fp32 1.0000)"),
        (199, 199, False, "fewer than 200 cannot show 0.99"),
    ],
)
def test_int8_is_used_only_when_it_costs_next_to_nothing(count: int, same: int, used: bool, word: str) -> None:
    variant = compiling.judge(measured(count, same, same), Kind.INT8)
    assert variant.used is used
    assert word in variant.why


def test_labels_that_change_without_a_loss_of_accuracy_count_too() -> None:
    changed = measured(1000, 980, 980)
    wrong = Measured(np.full(1000, 2), changed.logits)  # both are always wrong, differently
    assert not compiling.judge(wrong, Kind.INT8).used


def test_fp32_that_differs_from_the_network_is_not_used() -> None:
    assert compiling.judge_fp32(measured(10, 10, 10), 1e-6).used
    assert not compiling.judge_fp32(measured(10, 10, 10), 1e-3).used
