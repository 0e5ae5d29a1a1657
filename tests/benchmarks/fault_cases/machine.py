"""Runs whose fault is in how the machine is used: reading, decoding, memory, stalls."""

import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from PIL import Image
from smdebug.core.tfevent.timeline_file_writer import TimelineFileWriter
from smdebug.profiler.profiler_config_parser import ProfilerConfigParser
from torch import nn

from fault_cases.faults import Case
from fault_cases.world import SIDE, Setup, Tensors
from image_classifier.insight.system import STEP, WAITING, WORKING
from image_classifier.training.loop import Trainer
from image_classifier.training.sources import AHEAD, Batch, plan

MEMORY = 8 << 30  # of the machine that the process is said to have for itself, as an ml.m5.large
_WIDE = 1600  # side of the photos that are too large to decode in time


@dataclass
class Loading:
    """How batches are made; a fault changes it."""

    threads: int = 2
    disk_seconds: float = 0.0  # a picture
    large: bool = False  # decode a large photo for each small picture
    leak: int = 0  # bytes a step
    slow_steps: dict[int, float] = field(default_factory=dict)  # step -> seconds it takes longer


class Writer:
    """smdebug's own timeline writer, and system metrics in the host agent's lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "profiler"
        config = folder / "profilerconfig.json"
        parameters = {"LocalPath": str(self.folder), "DetailedProfilingConfig": "{}"}
        config.write_text(json.dumps({"ProfilingIntervalInMilliseconds": 100, "ProfilingParameters": parameters}))
        os.environ["SMPROFILER_CONFIG_PATH"] = str(config)
        self.timeline = TimelineFileWriter(ProfilerConfigParser("pytorch"))
        self.over = threading.Event()
        self.sampler = threading.Thread(target=self._sample, daemon=True)
        self.sampler.start()

    def event(self, phase: str, start: float, process: int = 0) -> None:
        seconds = time.time() - start
        self.timeline.write_trace_events(start, phase, phase, duration=seconds, pid=process or os.getpid())

    def close(self) -> None:
        self.over.set()
        self.sampler.join()
        self.timeline.close()

    def _sample(self) -> None:
        file = self.folder / "system" / "incremental" / f"{int(time.time() // 60)}.algo-1.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        process = psutil.Process()
        with file.open("a", encoding="utf-8") as lines:
            while not self.over.wait(0.1):
                values = {
                    ("cpu", f"cpu{n}", "CPUUtilization"): use for n, use in enumerate(psutil.cpu_percent(percpu=True))
                }
                used = 100 * process.memory_info().rss / MEMORY
                values["memory", "MemoryUsedPercent", "MemoryUsedPercent"] = used
                for (kind, name, dimension), value in values.items():
                    line = {"Type": kind, "Name": name, "Dimension": dimension, "Value": value, "NodeId": "algo-1"}
                    lines.write(json.dumps({**line, "Timestamp": time.time()}) + "\n")


@dataclass
class LoadedTensors:
    """Batches whose pictures are read and decoded by threads, some ahead of time."""

    tensors: Tensors
    loading: Loading
    writer: Writer

    def __len__(self) -> int:
        return len(self.tensors)

    def batches(self, batch_size: int, epoch: int | None = None, skip: int = 0) -> Iterator[Batch]:
        if epoch is None:
            yield from self.tensors.batches(batch_size)
            return
        planned = iter(plan(len(self), batch_size, epoch, self.tensors.seed)[skip:])
        with ThreadPoolExecutor(self.loading.threads) as pool:
            waiting: deque[tuple[list[int], list[Future[None]]]] = deque()
            for _ in range(AHEAD):
                self._ask(pool, planned, waiting)
            while waiting:
                rows, futures = waiting.popleft()
                started = time.time()
                for future in futures:
                    future.result()
                self.writer.event(WAITING, started)
                self._ask(pool, planned, waiting)
                yield self.tensors.inputs[rows], self.tensors.targets[rows]

    def _ask(
        self,
        pool: ThreadPoolExecutor,
        planned: Iterator[list[int]],
        waiting: deque[tuple[list[int], list[Future[None]]]],
    ) -> None:
        rows = next(planned, None)
        if rows is not None:
            waiting.append((rows, [pool.submit(self._read) for _ in rows]))

    def _read(self) -> None:
        started = time.time()
        time.sleep(self.loading.disk_seconds)
        with Image.open(io.BytesIO(_photo(self.loading.large))) as image:
            image.convert("RGB").resize((SIDE, SIDE))
        self.writer.event(WORKING, started, threading.get_native_id())


_PHOTOS: dict[bool, bytes] = {}


def _photo(large: bool) -> bytes:
    if large not in _PHOTOS:
        stream = io.BytesIO()
        side = _WIDE if large else 96
        Image.effect_noise((side, side), 60).convert("RGB").save(stream, "JPEG")
        _PHOTOS[large] = stream.getvalue()
    return _PHOTOS[large]


def equip(loading: Loading, writer: Writer, trainer: Trainer) -> None:
    """Let the trainer read its pictures this way, and write events of its steps."""
    trainer.train = LoadedTensors(trainer.train, loading, writer)  # type: ignore[arg-type]
    began = [0.0]
    number = [0]
    kept: list[bytearray] = []

    def start(module: nn.Module, _inputs: object) -> None:
        began[0] = time.time()

    def end(*_: object) -> None:
        time.sleep(loading.slow_steps.get(number[0], 0.0))
        if loading.leak:
            kept.append(bytearray(os.urandom(1) * loading.leak))
        number[0] += 1
        writer.event(STEP, began[0])

    def evaluated(module: nn.Module, _inputs: object, _output: object) -> None:
        if not torch.is_grad_enabled():
            writer.event("Step:ModeKeys.EVAL", began[0])

    trainer.module.register_forward_pre_hook(start)
    trainer.module.register_forward_hook(evaluated)
    trainer.optimizer.register_step_post_hook(end)


def _with(**changes: object) -> Callable[[Setup], None]:
    return lambda setup: setattr(setup, "loading", Loading(**changes))  # type: ignore[arg-type]


MACHINE_FAULTS = (
    Case("one loader worker", ("Dataloader", "DataWaiting"), _with(threads=1, disk_seconds=0.015)),
    Case("slow disk", ("DataWaiting", "IOBottleneck"), _with(disk_seconds=0.03)),
    Case("decoding takes all cores", ("DataWaiting", "CPUBottleneck"), _with(large=True)),
    Case("memory leak", ("HostMemoryIncrease",), _with(leak=16 << 20)),
    Case("stalled step", ("StalledTrainingRule",), _with(slow_steps={40: 9.0})),
    Case("step outliers", ("StepOutlier",), _with(slow_steps={n: 1.0 for n in range(5, 64, 7)})),
)
MACHINE_HEALTHY = (
    Case("well fed, narrow ResNet", (), _with()),
    Case("well fed, batches of 16", (), lambda setup: (_with()(setup), setup.choices.update(batch_size=16))),
)
