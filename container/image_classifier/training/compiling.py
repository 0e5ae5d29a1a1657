"""Compiled variants for CPUs, made from an artifact, measured, and noted in its configuration.

fp32 is used when its logits are the network's own; int8 when, on the validation split, its accuracy is at most half a
point lower and its first label agrees with fp32 on 99 %. Fewer than 200 pictures cannot show 99 %: then int8 is made
and measured, but `serve` does not choose it by itself.
"""

import logging
import random
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from image_classifier import artifact, compiled, machine
from image_classifier.compiled import Compiled, Kind, Network, Variant
from image_classifier.config import Preprocessing, fingerprint
from image_classifier.errors import sentence
from image_classifier.images import Pixels
from image_classifier.networks import FromPixels
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop, Stopped

logger = logging.getLogger(__name__)

CALIBRATION = 100  # training pictures that show nncf how large numbers become
MEASURED = 1000  # validation pictures, at most
ENOUGH = 200  # validation pictures that can show an agreement of 99 %
LOWER, AGREEMENT = 0.005, 0.99
EXACT = 1e-4  # of the largest logit
COMPARED = 8  # pictures that fp32 is compared on with torch
LARGEST = 1 << 30  # bytes of weights; a larger network would be converted for minutes

Logits = NDArray[np.float32]


class Runs(Protocol):
    """A form of the network that can be run."""

    def logits(self, pixels: Pixels) -> Logits:
        """Run pictures [n, h, w, 3]: [n, classes]."""


@dataclass(frozen=True)
class Measured:
    """What the variants said about the pictures of the validation split."""

    targets: NDArray[np.int64]  # [n]
    logits: dict[str, Logits]  # [n, classes], by variant

    def accuracy(self, kind: str) -> float:
        """Share of pictures whose first label is right."""
        return float((self.logits[kind].argmax(1) == self.targets).mean())

    def agreement(self, kind: str) -> float:
        """Share of pictures with the same first label as fp32."""
        return float((self.logits[kind].argmax(1) == self.logits[Kind.FP32].argmax(1)).mean())


def compile_artifact(folder: Path, train: PictureSource, validation: PictureSource, stop: Stop) -> None:
    """Add compiled variants to the artifact in a folder; one that cannot have them stays as it is, and it is said why.

    Args:
        folder: the artifact.
        train: pictures that int8 is calibrated on.
        validation: pictures that the variants are measured on.
        stop: ends it early; the artifact then has none.
    """
    start, config = time.monotonic(), artifact.load_config(folder)
    artifact.write_config(folder, config.model_copy(update={"compiled": None}))
    shutil.rmtree(folder / compiled.FOLDER, ignore_errors=True)
    size = (folder / artifact.WEIGHTS).stat().st_size
    if size > LARGEST:
        logger.info("Not compiled for CPUs: the weights have %d MiB, more than %d MiB.", size >> 20, LARGEST >> 20)
        return
    try:
        made = _make(folder, train, validation, stop)
    except Stopped:
        shutil.rmtree(folder / compiled.FOLDER, ignore_errors=True)
        logger.info("Stopped while compiling: the model is saved without compiled variants.")
        return
    except Exception as error:  # an operation that OpenVINO does not know, a full disk: the model itself is whole
        shutil.rmtree(folder / compiled.FOLDER, ignore_errors=True)
        logger.warning("Not compiled for CPUs, so `serve` runs the network with PyTorch: %s", sentence(error))
        return
    artifact.write_config(folder, config.model_copy(update={"compiled": made}))
    for kind, variant in made.variants.items():
        logger.info("Compiled %s, %s: %s.", kind, "used" if variant.used else "not used", variant.why)
    logger.info("Compiled for CPUs in %.0f s.", time.monotonic() - start)


def _make(folder: Path, train: PictureSource, validation: PictureSource, stop: Stop) -> Compiled:
    network, config = artifact.load(folder)
    openvino = compiled.openvino()
    (folder / compiled.FOLDER).mkdir()
    exact = convert(network, config.preprocessing)
    stop.check()
    shown = [picture for _, picture in _pictures(train, CALIBRATION, stop)]
    for kind, model in ((Kind.FP32, exact), (Kind.INT8, _quantized(exact, shown))):
        openvino.save_model(model, compiled.path(folder, kind), compress_to_fp16=False)
    difference = _difference(network, config.preprocessing, _network(folder, Kind.FP32), shown[:COMPARED])
    measured = measure({kind.value: _network(folder, kind) for kind in Kind}, validation, stop)
    variants = {Kind.INT8: judge(measured, Kind.INT8), Kind.FP32: judge_fp32(measured, difference)}
    return Compiled(source=fingerprint(folder, config), variants=variants)


def convert(network: nn.Module, preprocessing: Preprocessing) -> Any:
    """Trace a network in eval mode into an OpenVINO model: uint8 [1, h, w, 3] to float32 [1, classes]."""
    shape = (1, preprocessing.image_size, preprocessing.image_size, 3)
    example = torch.zeros(shape, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of the constants that it is meant to keep
        return compiled.openvino().convert_model(
            FromPixels(network, preprocessing), example_input=example, input=list(shape)
        )


def _quantized(model: Any, pictures: Sequence[Pixels]) -> Any:
    compiled.core()  # before nncf, whose telemetry is OpenVINO's, and whose cores end before ours
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # "No CUDA runtime is found", on every CPU
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it would also like to find
        import nncf
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(StringIO()):  # its progress bars
        data = nncf.Dataset([picture[np.newaxis] for picture in pictures])
        return nncf.quantize(model, data, subset_size=len(pictures), preset=nncf.QuantizationPreset.MIXED)


def _network(folder: Path, kind: Kind) -> Network:
    return Network(compiled.path(folder, kind), machine.cores())


def _pictures(source: PictureSource, most: int, stop: Stop) -> Iterator[tuple[int, Pixels]]:
    """Rows and pictures, drawn from the whole split, always the same ones; without those that cannot be decoded."""
    rows = sorted(random.Random(0).sample(range(len(source)), min(most, len(source))))
    with ThreadPoolExecutor(source.threads) as pool:
        for row, picture in zip(rows, pool.map(source.read, rows), strict=True):
            stop.check()
            if picture is not None:
                yield row, picture.permute(1, 2, 0).contiguous().numpy()


def _difference(network: nn.Module, preprocessing: Preprocessing, fp32: Network, pictures: Sequence[Pixels]) -> float:
    """Largest difference of fp32's logits to the network's own, as a share of the largest logit."""
    pixels = np.stack(pictures)
    with torch.inference_mode():
        wanted = FromPixels(network, preprocessing)(torch.from_numpy(pixels)).numpy()
    return float(np.abs(fp32.logits(pixels) - wanted).max() / np.abs(wanted).max())


def measure(networks: Mapping[str, Runs], validation: PictureSource, stop: Stop) -> Measured:
    """Show pictures of the validation split to each variant.

    Raises:
        Stopped: the job was asked to stop.
    """
    targets: list[int] = []
    logits: dict[str, list[Logits]] = {kind: [] for kind in networks}
    for row, picture in _pictures(validation, MEASURED, stop):
        targets.append(validation.split.targets[row])
        for kind, network in networks.items():
            logits[kind].append(network.logits(picture[np.newaxis]))
    return Measured(np.array(targets), {kind: np.concatenate(rows) for kind, rows in logits.items()})


def judge_fp32(measured: Measured, difference: float) -> Variant:
    """Use fp32 when it computes what the network does."""
    why = f"its logits differ from PyTorch's by {difference:.0e} of the largest (at most {EXACT:.0e})"
    return _variant(measured, Kind.FP32, difference <= EXACT, why)


def judge(measured: Measured, kind: str) -> Variant:
    """Use int8, or 16-bit numbers, when they cost next to nothing, and there are pictures enough to say so."""
    count, agreement = len(measured.targets), measured.agreement(kind)
    accuracy, exact = measured.accuracy(kind), measured.accuracy(Kind.FP32)
    why = f"accuracy {accuracy:.4f} (fp32 {exact:.4f}), agreement {agreement:.4f} on {count} validation pictures"
    if count < ENOUGH:
        return _variant(measured, kind, False, f"{why}, and fewer than {ENOUGH} cannot show {AGREEMENT}")
    fits = accuracy >= exact - LOWER and agreement >= AGREEMENT
    needed = "" if fits else f"; it takes {exact - LOWER:.4f} and {AGREEMENT}"
    return _variant(measured, kind, fits, why + needed)


def _variant(measured: Measured, kind: str, used: bool, why: str) -> Variant:
    return Variant(
        used=used,
        why=why,
        pictures=len(measured.targets),
        accuracy=measured.accuracy(kind),
        agreement=measured.agreement(kind),
    )
