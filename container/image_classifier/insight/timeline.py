"""What happened when: events of steps, forward passes and waiting for data, in the files of smdebug's profiler.

The form is Chrome's trace format, as smdebug's `pythontimeline.json` has it. Events are kept as plain numbers and
written some thousand at a time, because writing one at a time, as smdebug does, costs as much as a step of a head.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

FORWARD, MODULE = "Forward", "Forward-SubModuleInternal"
WAITING, STARTING, WORKING = "DataLoaderIter", "DataLoaderIterInitialize", "DataLoaderWorker"
MOST = 20_000  # events in memory
_MICRO = 1_000_000


def step_phase(training: bool) -> str:
    """The phase that AWS's rules look for."""
    return f"Step:ModeKeys.{'TRAIN' if training else 'EVAL'}"


class Event(NamedTuple):
    """One stretch of time. Start in Unix seconds, duration in seconds."""

    phase: str
    name: str
    start: float
    duration: float
    step: int
    thread: int


@dataclass
class Timeline:
    """The events of one process.

    Args:
        folder: the profiler's LocalPath.
        node: host as SageMaker calls it, such as `algo-1`.
        rotate: seconds until a file is written.
    """

    folder: Path
    node: str
    rotate: float = 60
    step: int = 0  # of the current mode; goes with every event
    _events: list[Event] = field(default_factory=list)  # threads append to it
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flushed: float = field(default_factory=time.time)

    def record(self, phase: str, name: str, start: float, thread: int = 0) -> None:
        """Keep an event that ends now."""
        self._events.append(Event(phase, name, start, time.time() - start, self.step, thread or os.getpid()))

    def write_trace_events(self, timestamp: float, training_phase: str = "", op_name: str = "", **more: Any) -> None:
        """What smdebug's `record_trace_events` calls: keep an event of `duration` seconds."""
        duration = float(more.get("duration") or 0)
        self._events.append(Event(training_phase, op_name, timestamp, duration, self.step, os.getpid()))

    def watch(self, module: nn.Module) -> Iterator[Any]:
        """Time the forward pass of every module that has no parts, until the handles that this gives are removed."""
        started: dict[nn.Module, float] = {}
        for name, part in module.named_modules():
            if next(part.children(), None) is None:
                yield part.register_forward_pre_hook(lambda part, _: started.update({part: time.time()}))
                yield part.register_forward_hook(
                    lambda part, _in, _out, name=name: self.record(MODULE, name, started.get(part, time.time()))
                )

    def spill(self) -> None:
        """Write when it is time."""
        if len(self._events) >= MOST or time.time() - self._flushed > self.rotate:
            self.flush()

    def flush(self) -> None:
        """Write the events so far as one file, complete in itself."""
        with self._lock:
            events, self._events, self._flushed = self._events, [], time.time()
            if events:
                self._write(events)

    def _write(self, events: list[Event]) -> None:
        end = max(event.start + event.duration for event in events)
        hour = time.strftime("%Y%m%d%H", time.gmtime(end))
        host = f"{os.getpid()}-{self.node or socket.gethostname()}".replace("_", "-")
        path = self.folder / "framework/pevents" / hour / f"{round(end * _MICRO)}_{host}_pythontimeline.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(trace(events), encoding="utf-8")
        partial.replace(path)

    def close(self) -> None:
        """Write what is left."""
        self.flush()


def trace(events: list[Event]) -> str:
    """Chrome's trace format: phases are its processes, times are microseconds since the first event."""
    phases = {phase: number for number, phase in enumerate(dict.fromkeys(event.phase for event in events))}
    first = min(int(event.start * _MICRO) for event in events)
    lines = [_meta(0, "process_name", f'"start_time_since_epoch_in_micros": {first}')]
    for phase, number in phases.items():
        lines.append(_meta(number, "process_name", f'"name": {_quoted(phase)}'))
        lines.append(_meta(number, "process_sort_index", f'"sort_index": {number}'))
    lines += [_line(event, phases[event.phase], first) for event in events]
    return "[\n" + ",\n".join(lines) + "\n]"


def _meta(number: int, name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "ph": "M", "pid": {number}, "args": {{{arguments}}}}}'


def _line(event: Event, phase: int, first: int) -> str:
    """A JSON object by hand, ten times faster than json.dumps."""
    start, duration = int(event.start * _MICRO) - first, int(event.duration * _MICRO)
    times = f'"ts": {start}, "dur": {duration}'
    arguments = f'{{"pid": {event.thread}, "step_num": "{event.step}"}}'
    return f'{{"name": {_quoted(event.name)}, "pid": {phase}, "ph": "X", {times}, "args": {arguments}}}'


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    return json.dumps(name)
