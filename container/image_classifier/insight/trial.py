"""Tensors that smdebug wrote, read when asked for: by kind, and as summaries whichever way they were saved.

smdebug's own trial waits for an end marker that a job that failed, or that still runs, does not have. Its index files
say which tensor lies where, so they are read here, and smdebug's reader decodes the tensor.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_classifier.insight import statistics
from image_classifier.insight.names import Names

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


@dataclass(frozen=True)
class _Slot:
    """Where a tensor lies in an event file."""

    file: Path
    start: int
    length: int


@dataclass
class _Step:
    mode: str
    slots: dict[str, _Slot] = field(default_factory=dict)


class Trial:
    """The tensors of one job.

    Args:
        folder: what smdebug wrote, with `index` and `events`; None for a job that saved nothing.
        module: class name of the trained module, which smdebug puts before the names of its parameters.
    """

    def __init__(self, folder: Path | None, module: str = "") -> None:
        self.folder = folder
        self._steps: dict[int, _Step] = {}
        self._read: set[Path] = set()
        self._names = Names(module)
        self._summaries: dict[tuple[str, str, int, str], Summary] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since the last look."""
        if self.folder is None:
            return
        self._names.read_collections(self.folder)
        for path in sorted(self.folder.glob("index/*/*.json")):
            if path not in self._read and self._take_in(path):
                self._read.add(path)

    def steps(self, mode: str | None = "TRAIN") -> list[int]:
        """Numbers of the saved steps, counted over all modes; of every mode with None."""
        return sorted(step for step, saved in self._steps.items() if mode in (None, saved.mode))

    def has(self, kind: str, mode: str = "TRAIN") -> bool:
        """Tell whether anything of a kind was saved in a mode."""
        return any(self._names.kind(name)[0] == kind for step in self.steps(mode) for name in self._steps[step].slots)

    def tensors(self, kind: str, mode: str = "TRAIN") -> Iterator[Tensor]:
        """Read the tensors of a kind, step by step.

        Args:
            kind: weight, gradient, loss, input, label, prediction, relu_input, relu_output, output; or
                `statistics/<what>` for a summary that was saved as one.
            mode: TRAIN, EVAL, PREDICT or GLOBAL.
        """
        for step in self.steps(mode):
            for name, slot in self._steps[step].slots.items():
                found, subject = self._names.kind(name)
                if found == kind:
                    yield Tensor(step, subject, _decode(slot))

    def summaries(self, kind: str, mode: str = "TRAIN") -> list[Summary]:
        """Summaries of weight, gradient, update, activation or input: as saved, or made from the tensors."""
        saved = f"statistics/{kind}"
        if self.has(saved, mode):
            return [self._cached(saved, mode, tensor) for tensor in self._new(saved, mode)]
        if kind == "update":
            return list(self._updates(mode))
        raw = "relu_input" if kind == "activation" else kind
        return [self._cached(raw, mode, tensor) for tensor in self._new(raw, mode)]

    def activities(self) -> Iterator[Tensor]:
        """Share of positive values for each channel of each activation's output, [channels]."""
        if self.has("statistics/activity"):
            yield from self.tensors("statistics/activity")
            return
        for tensor in self.tensors("relu_output"):
            yield tensor._replace(value=statistics.activity(_torch(tensor.value)).numpy())

    def losses(self, mode: str = "TRAIN") -> list[tuple[int, float]]:
        """(step, loss) of each recorded batch; a tensor of n losses is that of the n steps up to its own."""
        pairs: list[tuple[int, float]] = []
        for step, _, value in self.tensors("loss", mode):
            flat = np.ravel(value)
            pairs += [(step - len(flat) + 1 + i, float(loss)) for i, loss in enumerate(flat)]
        return pairs

    def _new(self, kind: str, mode: str) -> Iterator["Tensor | Summary"]:
        """The tensors of a kind, without decoding those whose summary is known."""
        for step in self.steps(mode):
            for name, slot in self._steps[step].slots.items():
                found, subject = self._names.kind(name)
                if found == kind:
                    known = self._summaries.get((kind, mode, step, subject))
                    yield known or Tensor(step, subject, _decode(slot))

    def _cached(self, kind: str, mode: str, found: "Tensor | Summary") -> Summary:
        if isinstance(found, Summary):
            return found
        value = found.value if kind.startswith("statistics/") else statistics.summarize(_torch(found.value)).numpy()
        summary = Summary(found.step, found.subject, *(float(number) for number in np.ravel(value)))
        self._summaries[kind, mode, found.step, found.subject] = summary
        return summary

    def _updates(self, mode: str) -> Iterator[Summary]:
        """Change of a weight between two saved steps, as the share of it that one step makes."""
        before: dict[str, Tensor] = {}
        for now in self.tensors("weight", mode):
            last = before.get(now.subject)
            if last is not None:
                ratio = statistics.update_ratio(_torch(last.value), _torch(now.value)) / (now.step - last.step)
                yield Summary(now.step, now.subject, *(float(x) for x in statistics.summarize(ratio)))
            before[now.subject] = now

    def _take_in(self, path: Path) -> bool:
        """Read an index file; False while it is being written."""
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            meta = index["meta"]
        except (OSError, ValueError, KeyError):
            return False
        step = self._steps.setdefault(int(path.name.split("_")[0]), _Step(meta["mode"]))
        file = path.parents[2] / meta.get("event_file_name", "")
        for item in index.get("tensor_payload", ()):
            slot = _Slot(file, int(item["start_idx"]), int(item["length"]))
            step.slots.setdefault(item["tensorname"], slot)  # of several workers, the first
        return True


def _decode(slot: _Slot) -> Array:
    from smdebug.core.tfrecord.tensor_reader import TensorReader  # heavy

    with slot.file.open("rb") as file:
        file.seek(slot.start)
        ((_, _, value, _, _),) = TensorReader(file.read(slot.length)).read_tensors(check="none")
    return np.asarray(value)


def _torch(value: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(value))
