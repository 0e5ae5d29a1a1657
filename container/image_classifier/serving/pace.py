"""How many requests a GPU should answer at a time: measured at the start, by a process that loads the model for it.

A batch costs a GPU hardly more than one picture until it is full; when that is depends on GPU, network and numbers.
It is asked before a worker starts, and the front door has no torch: so a process of its own finds out, prints
the seconds as JSON, and ends. `python -m image_classifier.serving.pace MODEL_DIR DEVICE THREADS` does it by hand.
"""

import asyncio
import json
import logging
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from image_classifier.contract import Settings
from image_classifier.errors import UserError, sentence
from image_classifier.serving import engines
from image_classifier.serving.engines import Engine

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 32)
REPEATS = 7
BOUND = 0.02  # seconds of a pass: so long waits who has just missed one
GAIN = 1.1  # in pictures a second, or a larger batch is not worth it
SHARE = 10  # the delay is this part of a batch's time


@dataclass(frozen=True)
class Pace:
    """What was measured.

    Args:
        seconds: of a forward pass, by the pictures in it; ascending.
    """

    seconds: dict[int, float]

    @property
    def batch(self) -> int:
        """The largest that stays within BOUND, and gains more than GAIN on the one before."""
        chosen = 1
        for fewer, more in pairwise(self.seconds):
            gain = (more / self.seconds[more]) / (fewer / self.seconds[fewer])
            if self.seconds[more] > BOUND or gain < GAIN:
                break
            chosen = more
        return chosen

    @property
    def delay(self) -> int:
        """Milliseconds that a request may wait for others; whole ones, as in the variable that sets it."""
        return max(1, round(1000 * self.seconds[self.batch] / SHARE)) if self.batch > 1 else 0

    def describe(self) -> str:
        """The arithmetic, for the log."""
        table = ", ".join(f"{1000 * seconds:.1f} ms for {size}" for size, seconds in self.seconds.items())
        return (
            f"Measured: a forward pass takes {table}. {self.batch} is the largest batch that takes at most "
            f"{1000 * BOUND:g} ms, each doubling up to it answering {GAIN:g} times as many a second or more."
        )


def measure(engine: Engine) -> Pace:
    """Time the forward pass of an engine that is warm: the median of several, by batch size."""
    import numpy as np

    side = engine.config.preprocessing.image_size
    seconds = {}
    for size in (size for size in SIZES if size <= engine.batch_size):
        pixels = np.zeros((size, side, side, 3), np.uint8)
        engine.logits(pixels)  # chooses algorithms and takes memory for this size
        seconds[size] = statistics.median(_seconds(engine, pixels) for _ in range(REPEATS))
    return Pace(seconds)


def _seconds(engine: Engine, pixels: "NDArray[uint8]") -> float:
    start = time.perf_counter()
    engine.logits(pixels)
    return time.perf_counter() - start


async def ask(folder: Path, device: str, threads: int, patience: float) -> Pace | None:
    """Let another process measure; None where that fails, and it is said why.

    Args:
        folder: the artifact.
        device: see engines.choose.
        threads: of a worker.
        patience: seconds that it may take.
    """
    words = [sys.executable, "-m", "image_classifier.serving.pace", str(folder), device, str(threads)]
    try:
        seconds = json.loads(await asyncio.wait_for(_last_line(words), patience))
        return Pace({int(size): float(value) for size, value in seconds.items()})
    except TimeoutError:
        reason = f"it took longer than {patience:g} seconds (SAGEMAKER_STARTUP_TIMEOUT)."
    except (UserError, ValueError) as error:
        reason = sentence(error)
    logger.warning("Requests are not answered in batches, because their time could not be measured: %s", reason)
    return None


async def _last_line(words: Sequence[str]) -> str:
    """What a process says at last; it ends when nobody waits for it any more.

    Raises:
        UserError: it failed; says why.
    """
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    try:
        answer, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = (complaint if process.returncode else answer).decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {process.returncode}"
    if process.returncode:
        raise UserError(last)
    return last


def main() -> None:
    """Measure, and print the seconds."""
    folder, device, threads = sys.argv[1:]
    try:
        engine = engines.load(Path(folder), Settings.from_environment(), device, int(threads))
        print(json.dumps(measure(engine).seconds))
    except Exception as error:
        sys.exit(sentence(error))


if __name__ == "__main__":
    main()
