"""Tensors that smdebug wrote, read when asked for: by kind, and as summaries whichever way they were saved.

smdebug's own trial waits for an end marker that a job that failed, or that still runs, does not have. Its index files
say which tensor lies where, so they are read here.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_classifier.insight import statistics
from image_classifier.insight.names import Names
from image_classifier.insight.tfevents import decode

Array = NDArray[Any]


class Summary(NamedTuple):
    """One tensor in numbers; moments and extremes are those of its finite values."""

    step: int
    subject: str
    size: float
    nan: float
    inf: float
    zero: float
    mean: float
    mean_abs: float
    variance: float
    l2: float
    min: float
    max: float
    p5: float
    p95: float


class Tensor(NamedTuple):
    """One saved tensor."""

    step: int
    subject: str  # parameter or module it belongs to
    value: Array


@dataclass(frozen=True, eq=False)
class _Slot:
    """Where a tensor lies in an event file."""

    step: int  # counted over all modes
    mode_step: int  # counted in its mode
    subject: str
    file: Path
    start: int
    length: int

    def read(self) -> Array:
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return decode(file.read(self.length))


class Trial:
    """The tensors of one job.

    Args:
        folder: what smdebug wrote, with `index` and `events`; None for a job that saved nothing.
        module: class name of the trained module, which smdebug puts before the names of its parameters.
    """

    def __init__(self, folder: Path | None, module: str = "") -> None:
        self.folder = folder
        self._names = Names(module)
        self._modes: dict[int, str] = {}
        self._slots: dict[tuple[str, str], list[_Slot]] = defaultdict(list)  # by mode and kind, in the order of steps
        self._read: set[Path] = set()
        self._summaries: dict[_Slot, Summary] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since the last look."""
        if self.folder is None:
            return
        self._names.read_collections(self.folder)
        new = [path for path in self.folder.glob("index/*/*.json") if path not in self._read]
        self._read.update(path for path in sorted(new) if self._take_in(path))
        for slots in self._slots.values():
            slots.sort(key=lambda slot: slot.step)

    def steps(self, mode: str | None = "TRAIN") -> list[int]:
        """Numbers of the saved steps, counted over all modes; of every mode with None."""
        return sorted(step for step, found in self._modes.items() if mode in (None, found))

    def has(self, kind: str, mode: str = "TRAIN") -> bool:
        """Tell whether anything of a kind was saved in a mode."""
        return bool(self._slots.get((mode, kind)))

    def tensors(self, kind: str, mode: str = "TRAIN") -> Iterator[Tensor]:
        """Read the tensors of a kind, step by step.

        Args:
            kind: weight, gradient, loss, input, label, prediction, relu_input, relu_output, output; or
                `statistics/<what>` for a summary that was saved as one.
            mode: TRAIN, EVAL, PREDICT or GLOBAL.
        """
        for slot in self._slots.get((mode, kind), ()):
            yield Tensor(slot.step, slot.subject, slot.read())

    def summaries(self, kind: str, mode: str = "TRAIN") -> list[Summary]:
        """Summaries of weight, gradient, update, activation or input: as saved, or made from the tensors."""
        saved = self._slots.get((mode, f"statistics/{kind}"))
        if saved:
            return [self._summary(slot, summarized=True) for slot in saved]
        if kind == "update":
            return list(self._updates(mode))
        raw = "relu_input" if kind == "activation" else kind
        return [self._summary(slot, summarized=False) for slot in self._slots.get((mode, raw), ())]

    def activities(self) -> Iterator[Tensor]:
        """Share of positive values for each channel of each activation's output, [channels]."""
        if self.has("statistics/activity"):
            yield from self.tensors("statistics/activity")
            return
        for tensor in self.tensors("relu_output"):
            yield tensor._replace(value=statistics.activity(_torch(tensor.value)).numpy())

    def losses(self, mode: str = "TRAIN") -> list[tuple[int, float]]:
        """(step of this mode, loss) of each recorded batch."""
        return [pair for found, pairs in self.loss_blocks() if found == mode for pair in pairs]

    def loss_blocks(self) -> list[tuple[str, list[tuple[int, float]]]]:
        """The recorded losses as the job went on: each stretch of one mode, with its (step of this mode, loss)."""
        kinds = [(mode, kind) for mode, kind in self._slots if kind in ("loss", "statistics/loss")]
        series = {mode for mode, kind in kinds if kind == "statistics/loss"}
        slots = [
            (slot, mode)
            for mode, kind in kinds
            if (kind != "loss") == (mode in series)
            for slot in self._slots[mode, kind]
        ]
        slots.sort(key=lambda pair: pair[0].step)
        blocks = groupby(slots, key=lambda pair: pair[1])
        return [(mode, [pair for slot, _ in block for pair in _losses(slot)]) for mode, block in blocks]

    def _summary(self, slot: _Slot, summarized: bool) -> Summary:
        if slot not in self._summaries:
            value = slot.read()
            numbers = value if summarized else statistics.summarize(_torch(value)).numpy()
            self._summaries[slot] = Summary(slot.step, slot.subject, *numbers.tolist())
        return self._summaries[slot]

    def _updates(self, mode: str) -> Iterator[Summary]:
        """Change of a weight between two saved steps, as the share of it that one step makes."""
        before: dict[str, tuple[_Slot, Array]] = {}
        for slot in self._slots.get((mode, "weight"), ()):
            value = slot.read()
            last, old = before.get(slot.subject, (slot, value))
            if last is not slot and old.shape == value.shape:
                ratio = statistics.update_ratio(_torch(old), _torch(value)) / (slot.mode_step - last.mode_step)
                yield Summary(slot.step, slot.subject, *statistics.summarize(ratio).tolist())
            before[slot.subject] = slot, value

    def _take_in(self, path: Path) -> bool:
        """Read an index file; False while it is being written."""
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            mode, mode_step = index["meta"]["mode"], int(index["meta"]["mode_step"])
        except (OSError, ValueError, KeyError):
            return False
        step = int(path.name.split("_")[0])
        if step in self._modes:  # another worker of the same step
            return True
        self._modes[step] = mode
        file = path.parents[2] / index["meta"].get("event_file_name", "")
        for item in index.get("tensor_payload", ()):
            kind, subject = self._names.kind(item["tensorname"])
            slot = _Slot(step, mode_step, subject, file, int(item["start_idx"]), int(item["length"]))
            self._slots[mode, kind].append(slot)
        return True


def _losses(slot: _Slot) -> list[tuple[int, float]]:
    """One loss of this step, or [n, 2]: the losses of several steps with their numbers."""
    value = np.asarray(slot.read(), dtype=np.float64)
    if value.ndim == 2 and value.shape[1] == 2:
        return [(int(step), float(loss)) for step, loss in value]
    return [(slot.mode_step, float(value.mean()))]


def _torch(value: Array) -> Any:
    import torch

    return torch.from_numpy(value.copy())
