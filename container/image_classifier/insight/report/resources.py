"""Use of the machine over time, lined up with the job's phases and steps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from image_classifier.insight import system
from image_classifier.insight.report.charts import Axis, Chart, Series, Table
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import DASH, SPACE, count, duration, number, percent
from image_classifier.insight.run_facts import Phase

BUSY = 0.5  # share of the main resource from which the machine counts as used
NONE = "No resource metrics were recorded (no `system` folder among the profiler's files), so there is no timeline."
_MOST_STEPS = 200  # marks of steps that are drawn
_NARROW = 7.0  # percent of the width below which a phase's name does not fit into its block


@dataclass(frozen=True)
class Usage:
    """How busy the machine was."""

    share: float | None  # of the main resource: the GPUs, or else the cores; 0 to 1
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A phase as it is drawn, in percent of the width."""

    name: str
    left: float
    width: float
    label: str  # empty where there is no room for it


@dataclass(frozen=True)
class Panel:
    """One resource over time."""

    name: str
    summary: str
    chart: Chart


@dataclass(frozen=True)
class Timelines:
    """Panels over one axis of time, in seconds since the first record."""

    axis: Axis
    phases: tuple[Block, ...]
    steps: tuple[float, ...]  # starts in percent of the width, thinned
    steps_said: str
    panels: tuple[Panel, ...]
    table: Table


@dataclass(frozen=True)
class _Lane:
    """Samples of one resource: `values` are drawn, `peaks` faintly behind them."""

    name: str
    times: system.Numbers
    values: system.Numbers
    peaks: system.Numbers | None = None
    unit: str = "%"

    @property
    def summary(self) -> str:
        return f"mean {self.said(self.values.mean())}, peak {self.said(self.values.max())}"

    @property
    def high(self) -> float:
        """Upper end of the axis; a network has no known limit."""
        return 100.0 if self.unit == "%" else max(float(self.values.max()), 1.0)

    def said(self, value: float) -> str:
        return f"{number(value)}{SPACE}{self.unit}"


def usage(material: Material) -> Usage:
    """Mean use of cores, GPUs and memory."""
    metrics = material.run.system
    busiest = [("GPU", metrics.gpus()), ("core", metrics.cores())]
    found = [(thing, system.stacked(series)) for thing, series in busiest if series]
    sentences = [_said(thing, values) for thing, values in found]
    if memory := metrics.memory():
        sentences.append(f"Memory was {percent(memory.values.max() / 100)} full at most.")
    return Usage(float(found[0][1].mean()) / 100 if found else None, tuple(sentences))


def _said(thing: str, values: system.Numbers) -> str:
    amount = len(values)
    who = f"The {thing} was" if amount == 1 else f"The {amount} {thing}s were"
    high = percent(float(np.percentile(values, 95)) / 100)
    return f"{who} {percent(float(values.mean()) / 100)} busy on average (95th percentile {high})."


def timelines(material: Material) -> Timelines | None:
    """All resources over one axis; None where nothing was sampled."""
    lanes = list(_lanes(material.run.system))
    if not lanes:
        return None
    steps = [event.start for event in material.run.timeline.of(system.STEP)]
    phases = material.facts.phases
    starts = [lane.times[0] for lane in lanes] + [phase.start for phase in phases] + steps[:1]
    ends = [lane.times[-1] for lane in lanes] + [phase.end for phase in phases]
    zero = min(starts)
    axis = Axis(0.0, max(max(ends) - zero, 1.0), "time since the start", label=_clock)
    return Timelines(
        axis=axis,
        phases=tuple(_block(phase, axis, zero) for phase in phases),
        steps=tuple(100 * axis.place(start - zero) for start in steps[:: math.ceil(len(steps) / _MOST_STEPS) or 1]),
        steps_said=count(len(steps), "training step"),
        panels=tuple(_panel(lane, axis, zero) for lane in lanes),
        table=_phase_table(material, lanes),
    )


def _lanes(metrics: system.SystemMetrics) -> Iterator[_Lane]:
    if cores := metrics.cores():
        yield _over_all(f"CPU, {count(len(cores), 'core')}", cores)
    for name, series in metrics.gpus().items():
        yield _Lane(name.upper(), series.times, series.values)
    for name, series in metrics.gpu_memory().items():
        yield _Lane(f"{name.upper()} memory", series.times, series.values)
    if memory := metrics.memory():
        yield _Lane("Memory", memory.times, memory.values)
    if waits := metrics.io_wait():
        yield _over_all("Waiting for disks", waits)
    for name, series in metrics.network().items():
        direction = "in" if name.startswith("Receive") else "out"
        yield _Lane(f"Network, {direction}", series.times, series.values / 1e6, unit="MB/s")


def _over_all(name: str, series: dict[str, system.Series]) -> _Lane:
    """The mean over all cores, and the busiest one."""
    values = system.stacked(series)
    times = next(iter(series.values())).times[: values.shape[1]]
    return _Lane(name, times, values.mean(0), values.max(0) if len(values) > 1 else None)


def _panel(lane: _Lane, axis: Axis, zero: float) -> Panel:
    times = (lane.times - zero).tolist()
    lines = [Series("mean of all", list(zip(times, lane.values.tolist(), strict=True)), marks=False)]
    if lane.peaks is not None:
        lines.append(Series("busiest one", list(zip(times, lane.peaks.tolist(), strict=True)), marks=False, faint=True))
    y = Axis(0.0, lane.high, lane.unit, label=lane.said)
    return Panel(lane.name, lane.summary, Chart(f"{lane.name}: {lane.summary}", axis, y, lines))


def _block(phase: Phase, axis: Axis, zero: float) -> Block:
    left, right = (100 * axis.place(moment - zero) for moment in (phase.start, phase.end))
    seconds = duration(phase.end - phase.start)
    label = phase.name if right - left > _NARROW else ""
    return Block(f"{phase.name}: {seconds}", left, max(0.2, right - left), label)


def _phase_table(material: Material, lanes: list[_Lane]) -> Table:
    """What each resource did in each phase; phases of the same name together."""
    phases = material.facts.phases or (Phase(name="whole job", start=-math.inf, end=math.inf),)
    rows = []
    for name in dict.fromkeys(phase.name for phase in phases):
        same = [phase for phase in phases if phase.name == name]
        seconds = sum(phase.end - phase.start for phase in same)
        means = [_mean_in(lane, same) for lane in lanes]
        rows.append([name, duration(seconds) if math.isfinite(seconds) else DASH, *means])
    return Table(["phase", "time", *(lane.name for lane in lanes)], rows, "Mean use in each phase")


def _mean_in(lane: _Lane, phases: list[Phase]) -> str:
    inside = np.zeros(len(lane.times), dtype=bool)
    for phase in phases:
        inside |= (lane.times >= phase.start) & (lane.times <= phase.end)
    return lane.said(lane.values[inside].mean()) if inside.any() else DASH


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
