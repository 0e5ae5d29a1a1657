"""What the profiler wrote: samples of the machine's use, and events of the training process, as arrays."""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

STEP, EVALUATION = "Step:ModeKeys.TRAIN", "Step:ModeKeys.EVAL"
WAITING = "DataLoaderIter"  # the training process waits for its next batch
WORKING = "DataLoaderWorker"  # a worker makes a batch


@dataclass(frozen=True)
class Series:
    """Samples of one thing over time."""

    times: Numbers  # Unix seconds
    values: Numbers  # percent, or bytes a second for the network


@dataclass(frozen=True)
class Event:
    """One stretch of time of one process."""

    phase: str
    name: str
    start: float  # Unix seconds
    duration: float  # seconds
    process: int

    @property
    def end(self) -> float:
        """Unix seconds."""
        return self.start + self.duration


class SystemMetrics:
    """Samples in the form of SageMaker's host agent: one JSON object a line.

    Args:
        folder: the profiler's directory, which holds `system`; None for a job without.
    """

    def __init__(self, folder: Path | None) -> None:
        samples: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for line in _lines(folder):
            samples[line["Dimension"], line.get("Name") or ""].append((float(line["Timestamp"]), float(line["Value"])))
        self._series = {key: _series(pairs) for key, pairs in sorted(samples.items())}

    @property
    def empty(self) -> bool:
        """True where nothing was sampled."""
        return not self._series

    def cores(self) -> dict[str, Series]:
        """Use of each CPU core, percent."""
        return self._of("CPUUtilization")

    def gpus(self) -> dict[str, Series]:
        """Use of each GPU, percent."""
        return self._of("GPUUtilization")

    def gpu_memory(self) -> dict[str, Series]:
        """Use of each GPU's memory, percent."""
        return self._of("GPUMemoryUtilization")

    def io_wait(self) -> dict[str, Series]:
        """Share of time in which a core waited for a disk, percent."""
        return self._of("I/OWaitPercentage")

    def memory(self) -> Series | None:
        """Use of the machine's memory, percent."""
        found = [s for (dimension, name), s in self._series.items() if "MemoryUsedPercent" in (dimension, name)]
        return found[0] if found else None

    def network(self) -> dict[str, Series]:
        """Bytes a second received and sent, by the agent's names."""
        return {name: series for name, series in self._of("Algorithm").items() if name.endswith("BytesPerSecond")}

    def _of(self, dimension: str) -> dict[str, Series]:
        return {name: series for (found, name), series in self._series.items() if found == dimension}


class Timeline:
    """Events of the training process, in Chrome's trace format.

    Args:
        folder: the profiler's directory, which holds `framework`; None for a job without.
    """

    def __init__(self, folder: Path | None) -> None:
        paths = sorted(folder.glob("framework/**/*timeline.json*")) if folder else []
        self.events = sorted((event for path in paths for event in _events(path)), key=lambda event: event.start)

    def of(self, *phases: str) -> list[Event]:
        """The events of some phases, by their start; a phase may also be an event's name."""
        return [event for event in self.events if event.phase in phases or event.name in phases]

    def waits_of_training(self) -> list[Event]:
        """The waits for a batch that a training step follows; evaluation waits for its batches, too."""
        steps = self.of(STEP, EVALUATION)
        starts = [step.start for step in steps]
        followed = ((wait, bisect_left(starts, wait.start)) for wait in self.of(WAITING))
        return [wait for wait, place in followed if place < len(steps) and steps[place].phase == STEP]


def stacked(series: dict[str, Series]) -> Numbers:
    """Several series as [things, samples], cut to the shortest."""
    length = min(len(one.values) for one in series.values())
    return np.stack([one.values[:length] for one in series.values()])


def _series(pairs: list[tuple[float, float]]) -> Series:
    times, values = np.array(sorted(pairs), dtype=np.float64).T
    return Series(times, values)


def _lines(folder: Path | None) -> Iterator[dict[str, Any]]:
    paths = sorted(folder.glob("system/**/*.json")) if folder else []
    for path in paths:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue  # the last line of a file that is being written
            if isinstance(found, dict) and {"Dimension", "Timestamp", "Value"} <= found.keys():
                yield found


def _events(path: Path) -> Iterator[Event]:
    """Read one trace; a file without its end (the process was killed) is read as far as it goes."""
    phases: dict[int, str] = {}
    base = 0.0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line.strip().rstrip(",").removeprefix("["))
        except ValueError:
            continue
        arguments = record.get("args") or {}
        if record.get("ph") == "M":
            base = arguments.get("start_time_since_epoch_in_micros", base)
            if record.get("name") == "process_name":
                phases[record["pid"]] = arguments.get("name", "")
        elif record.get("ph") == "X":
            process = int(arguments.get("pid", record["pid"]))
            start, duration = (base + record["ts"]) / 1e6, record["dur"] / 1e6
            yield Event(phases.get(record["pid"], ""), record["name"], start, duration, process)
