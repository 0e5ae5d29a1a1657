"""Records through the network: decode, forward, a few at a time so that memory stays bounded."""

import math
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from image_classifier import images
from image_classifier.errors import RequestError, is_out_of_memory
from image_classifier.images import ImageError, Pixels
from image_classifier.serving.answers import Prediction
from image_classifier.serving.engines import Engine
from image_classifier.serving.requests import Record

Outcome = Prediction | Exception


@dataclass
class Stages:
    """Seconds that one call of the handler spent in each stage; its requests all waited for all of them.

    Args:
        together: pictures of all requests of the call.
    """

    decode: float = 0.0
    forward: float = 0.0
    encode: float = 0.0
    together: int = 0
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Add what was spent since the last lap to a stage."""
        now = time.perf_counter()
        setattr(self, stage, getattr(self, stage) + now - self._last)
        self._last = now

    def header(self, records: int) -> str:
        """As the front door reads it: see wire.STAGES."""
        spent = f"decode={self.decode:.6f},forward={self.forward:.6f},encode={self.encode:.6f}"
        return f"{spent},records={records},together={self.together}"


def predict(
    engine: Engine, records: Sequence[Record], max_pixels: int, stages: Stages, alone: bool = False
) -> list[Outcome]:
    """Answer records, each with a prediction or with what went wrong with it; one bad record fails alone."""
    outcomes: list[Outcome] = []
    for start in range(0, len(records), engine.batch_size):
        batch = records[start : start + engine.batch_size]
        outcomes += _predict_batch(engine, batch, max_pixels, stages, alone)
    return outcomes


def _predict_batch(
    engine: Engine, records: Sequence[Record], max_pixels: int, stages: Stages, alone: bool
) -> list[Outcome]:
    decoded = _decoded(records, engine, max_pixels)
    stages.lap("decode")
    answers = iter(_forward(engine, [item for item in decoded if isinstance(item, np.ndarray)], alone))
    stages.lap("forward")
    return [next(answers) if isinstance(item, np.ndarray) else item for item in decoded]


def _decoded(records: Sequence[Record], engine: Engine, max_pixels: int) -> list[Pixels | Exception]:
    decode = partial(_decode, engine=engine, max_pixels=max_pixels)
    if min(len(records), engine.decoders) <= 1:
        return [decode(record) for record in records]
    with ThreadPoolExecutor(engine.decoders) as pool:  # a GPU would wait for one core; Pillow lets go of Python's lock
        return list(pool.map(decode, records))


def _decode(record: Record, engine: Engine, max_pixels: int) -> Pixels | Exception:
    try:
        return images.read(bytes(record()), engine.config.preprocessing, max_pixels)
    except ImageError as error:
        return RequestError(400, "bad_image", str(error))
    except Exception as error:
        return error


def _forward(engine: Engine, pixels: list[Pixels], alone: bool) -> Sequence[Outcome]:
    if not pixels:
        return []
    try:
        logits = engine.logits(np.stack(pixels), alone)
    except Exception as error:
        if is_out_of_memory(error) and len(pixels) > 1:  # another process may have taken the memory: half may fit
            middle = len(pixels) // 2
            return [*_forward(engine, pixels[:middle], alone), *_forward(engine, pixels[middle:], alone)]
        return [error] * len(pixels)
    shares = softmax(logits, engine.config.temperature)
    return [_prediction(*row) for row in zip(logits, shares, strict=True)]


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities of logits [n, classes], calibrated: see calibration.py of training."""
    with np.errstate(invalid="ignore"):  # the caller looks for what is not a number
        shares = np.exp((logits.astype(np.float64) - logits.max(1, keepdims=True)) / temperature)
        return shares / shares.sum(1, keepdims=True)  # type: ignore[no-any-return]


def _prediction(logits: NDArray[np.float32], shares: NDArray[np.float64]) -> Outcome:
    if not math.isfinite(shares[0]):  # nor is any other then
        return ArithmeticError("The network's answer holds what is not a number; the model is damaged.")
    # 12 bytes a class where lists take 64: a batch transform's body may hold 100,000 records
    return Prediction(array("f", logits.tobytes()), array("d", shares.tobytes()))
