"""How busy the machine is: sampled in a thread, in the lines that SageMaker's host agent writes.

One file a minute, `system/incremental/<YYYYMMDDHH>/<unix minute>.algo-1.json`, one JSON object a line:
`{"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": 83.1, "NodeId": "algo-1", "Timestamp": …}`.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

logger = logging.getLogger(__name__)

INTERVAL = 0.5  # seconds; the agent's default


class Sample(NamedTuple):
    """One number: kind, name and dimension as the agent calls them."""

    type: str
    name: str
    dimension: str
    value: float


class Resources:
    """Samples until it is closed.

    Args:
        folder: the profiler's LocalPath.
        node: host as SageMaker calls it, such as `algo-1`.
        interval: seconds between samples.
    """

    def __init__(self, folder: Path, node: str, interval: float = INTERVAL) -> None:
        self._folder, self._node, self._interval = folder, node, interval
        self._machine, self._gpus = Machine(), find_gpus()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def close(self) -> None:
        """Take a last sample and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            while not self._over.wait(self._interval):
                self._write(time.time())
            self._write(time.time())
        except Exception as error:  # a full disk, a GPU that went away: training goes on
            logger.warning("Profiler: system metrics off (%s: %s).", type(error).__name__, error)

    def _write(self, now: float) -> None:
        samples = [*self._machine.sample(now), *(sample for gpu in self._gpus for sample in gpu.sample())]
        hour, minute = time.strftime("%Y%m%d%H", time.gmtime(now)), int(now // 60) * 60
        path = self._folder / "system/incremental" / hour / f"{minute}.{self._node}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines(samples, self._node, now))


def lines(samples: list[Sample], node: str, now: float) -> Iterator[str]:
    """The agent's form, one JSON object for each sample."""
    for kind, name, dimension, value in samples:
        yield json.dumps(
            {
                "Type": kind,
                "Name": name,
                "Dimension": dimension,
                "Value": round(value, 2),
                "NodeId": node,
                "Timestamp": round(now, 3),
            }
        )


class Machine:
    """Processors, memory, waiting for disks and the network; shares in percent, since the sample before."""

    def __init__(self) -> None:
        self._cores: list[Any] = psutil.cpu_times(percpu=True)
        self._traffic, self._last = _traffic(), time.time()

    def sample(self, now: float) -> Iterator[Sample]:
        """What changed since the last call."""
        cores = psutil.cpu_times(percpu=True)
        for number, (before, after) in enumerate(zip(self._cores, cores, strict=False)):
            busy, waiting = _shares(before, after)
            yield Sample("cpu", f"cpu{number}", "CPUUtilization", busy)
            yield Sample("cpu", f"cpu{number}", "I/OWaitPercentage", waiting)
        yield Sample("memory", "MemoryUsedPercent", "Memory", psutil.virtual_memory().percent)
        for name, value in (traffic := _traffic()).items():
            rate = (value - self._traffic.get(name, value)) / max(now - self._last, 1e-3)
            yield Sample("network", name, "Algorithm", rate)
        self._cores, self._traffic, self._last = cores, traffic, now


def _shares(before: Any, after: Any) -> tuple[float, float]:
    """Percent of the time a core was busy, and waited for a disk."""
    passed = max(sum(after[:8]) - sum(before[:8]), 1e-9)  # guests are counted within user and nice
    waiting = getattr(after, "iowait", 0.0) - getattr(before, "iowait", 0.0)
    idle = after.idle - before.idle + waiting
    return 100 * max(0.0, min(1.0, 1 - idle / passed)), 100 * max(0.0, min(1.0, waiting / passed))


def _traffic() -> dict[str, float]:
    """Bytes over all networks but the loopback."""
    cards = [count for card, count in psutil.net_io_counters(pernic=True).items() if card != "lo"]
    received, sent = sum(card.bytes_recv for card in cards), sum(card.bytes_sent for card in cards)
    return {"ReceiveBytesPerSecond": received, "TransmitBytesPerSecond": sent}


class Gpu:
    """One GPU, through NVML."""

    def __init__(self, nvml: Any, number: int) -> None:
        self._nvml, self._name = nvml, f"gpu{number}"
        self._handle = nvml.nvmlDeviceGetHandleByIndex(number)

    def sample(self) -> Iterator[Sample]:
        """Share of the time it computed, and of its memory that is taken, in percent."""
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        busy = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        yield Sample("gpu", self._name, "GPUUtilization", float(busy))
        yield Sample("gpu", self._name, "GPUMemoryUtilization", 100 * memory.used / memory.total)


def find_gpus() -> list[Gpu]:
    """The GPUs of this machine; none where there is no driver or no NVML."""
    with suppress(Exception):  # ImportError, or any of NVML's
        import pynvml

        pynvml.nvmlInit()
        return [Gpu(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    return []
