"""Runs whose fault is in how the machine is used: reading, decoding, memory, stalls."""

import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
from PIL import Image

from fault_cases.faults import Case
from fault_cases.world import SIDE, Setup, Tensors
from image_classifier.insight.hook import Hook
from image_classifier.insight.resources import Sample, lines
from image_classifier.training.loop import Trainer
from image_classifier.training.reading import AHEAD
from image_classifier.training.sources import Batch, plan

MEMORY = 8 << 30  # of the machine that the process is said to have for itself, as an ml.m5.large
_WIDE = 1600  # side of the photos that are too large to decode in time
Asked = deque[tuple[list[int], list[Future[None]]]]


@dataclass
class Loading:
    """How batches are made and what a step does besides; a fault changes it."""

    threads: int = 2
    disk_seconds: float = 0.0  # a picture
    large: bool = False  # decode a large photo for each small picture
    leak: int = 0  # bytes a step
    slow_steps: dict[int, float] = field(default_factory=dict)  # step -> seconds it takes longer


class Sampler:
    """System metrics of this process alone, in the host agent's lines: other programs run on a benchmark's machine."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "system" / "incremental" / f"{int(time.time() // 60) * 60}.algo-1.json"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        process = psutil.Process()
        with self.file.open("a", encoding="utf-8") as file:
            while not self.over.wait(0.1):
                used = 100 * process.memory_info().rss / MEMORY
                use = process.cpu_percent() / 2
                samples = [Sample("cpu", f"cpu{n}", "CPUUtilization", use) for n in range(2)]
                samples.append(Sample("memory", "MemoryUsedPercent", "Memory", used))
                file.writelines(f"{line}\n" for line in lines(samples, "algo-1", time.time()))


@dataclass
class LoadedTensors:
    """Batches whose pictures are read and decoded by threads, some ahead of time."""

    tensors: Tensors
    loading: Loading
    hook: Hook

    def __len__(self) -> int:
        return len(self.tensors)

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        planned = iter(plan(len(self), batch_size, epoch, self.tensors.seed)[skip:])
        with ThreadPoolExecutor(self.loading.threads) as pool:
            asked: Asked = deque()
            for _ in range(AHEAD):
                self._ask(pool, planned, asked)
            while asked:
                rows, futures = asked.popleft()
                for future in futures:
                    future.result()
                self._ask(pool, planned, asked)
                yield self.tensors.inputs[rows], self.tensors.targets[rows]

    def _ask(self, pool: ThreadPoolExecutor, planned: Iterator[list[int]], asked: Asked) -> None:
        rows = next(planned, None)
        if rows is not None:
            asked.append((rows, [pool.submit(self._read) for _ in rows]))

    def _read(self) -> None:
        started = time.time()
        time.sleep(self.loading.disk_seconds)
        with Image.open(io.BytesIO(_photo(_WIDE if self.loading.large else 96))) as image:
            image.convert("RGB").resize((SIDE, SIDE))
        self.hook.decoded(started)


@cache
def _photo(side: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def equip(loading: Loading, trainer: Trainer) -> None:
    """Let the trainer read its pictures this way, and its steps do what else is planted."""
    trainer.train = LoadedTensors(trainer.train, loading, trainer.hook)  # type: ignore[arg-type]
    kept: list[bytes] = []
    number = [0]

    def end(*_: object) -> None:
        time.sleep(loading.slow_steps.get(number[0], 0.0))
        if loading.leak:
            kept.append(os.urandom(1) * loading.leak)
        number[0] += 1

    trainer.optimizer.register_step_post_hook(end)


def _with(**changes: object) -> Callable[[Setup], None]:
    def plant(setup: Setup) -> None:
        setup.loading = Loading(**changes)  # type: ignore[arg-type]
        setup.architecture, setup.epochs = "plain", 8
        setup.choices.update(batch_size=16, learning_rate=3e-3)

    return plant


def _well_fed_narrow(setup: Setup) -> None:
    _with()(setup)
    setup.architecture, setup.epochs = "narrow", 4


MACHINE_FAULTS = (
    Case("one loader worker", ("Dataloader", "DataWaiting"), _with(threads=1, disk_seconds=0.02)),
    Case("slow disk", ("DataWaiting", "IOBottleneck"), _with(disk_seconds=0.04)),
    Case("decoding takes all cores", ("DataWaiting", "CPUBottleneck"), _with(large=True)),
    Case("memory leak", ("HostMemoryIncrease",), _with(leak=12 << 20)),
    Case("stalled step", ("StalledTrainingRule",), _with(slow_steps={40: 15.0})),
    Case("step outliers", ("StepOutlier",), _with(slow_steps=dict.fromkeys(range(5, 90, 8), 1.5))),
)
MACHINE_HEALTHY = (
    Case("well fed, no normalization", (), _with()),
    Case("well fed, narrow ResNet", (), _well_fed_narrow),
)
