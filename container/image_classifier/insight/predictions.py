"""What the network said about each picture of a split: `predictions.csv`, one row a picture, written and read here.

    split,path,label,predicted,confidence,loss,label_2,share_2,…,label_5,share_5,uncalibrated

`confidence` is the share of `predicted` as `serve` answers it, and `uncalibrated` what it is at a temperature of 1;
loss is the cross-entropy of the logits, in nats. The picture of row n (from 0) may lie beside it as `pictures/n.jpg`.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILE = "predictions.csv"
PICTURES = "pictures"
RANKS = 5  # choices kept for each picture

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The first choices for n pictures; k = min(RANKS, classes)."""

    split: str
    labels: tuple[str, ...]  # of all classes
    paths: tuple[str, ...]  # [n]
    targets: Integers  # [n]
    choices: Integers  # [n, k], the best first
    shares: Floats  # [n, k], softmax
    losses: Floats  # [n], nats
    uncalibrated: Floats | None = None  # [n], the first share at a temperature of 1; None: not known

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the first choice is the true class: [n]."""
        return np.equal(self.choices[:, 0], self.targets)

    def write(self, folder: Path) -> None:
        """Write `predictions.csv`."""
        ranks = range(2, self.choices.shape[1] + 1)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            head = ["split", "path", "label", "predicted", "confidence", "loss"]
            head += [name for rank in ranks for name in (f"label_{rank}", f"share_{rank}")]
            known = self.uncalibrated is not None
            rows.writerow([*head, "uncalibrated"] if known else head)
            rows.writerows(self._rows())

    def _rows(self) -> Iterator[list[str]]:
        for row, (path, target, loss) in enumerate(zip(self.paths, self.targets, self.losses, strict=True)):
            said = [(self.labels[c], f"{s:.6g}") for c, s in zip(self.choices[row], self.shares[row], strict=True)]
            first = [self.split, path, self.labels[target], *said[0], f"{loss:.6g}"]
            last = [] if self.uncalibrated is None else [f"{self.uncalibrated[row]:.6g}"]
            yield first + [value for choice in said[1:] for value in choice] + last


def read(folder: Path, labels: Sequence[str] = ()) -> Predictions | None:
    """Read `predictions.csv`; None where there is none, it has no rows, or it is not of this form.

    Args:
        folder: where it lies.
        labels: of all classes, in order; those that occur in the file, sorted, when not known.
    """
    try:
        with (folder / FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return _parse(rows, tuple(labels)) if rows else None
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None


def _parse(rows: list[dict[str, str]], labels: tuple[str, ...]) -> Predictions:
    ranks = [rank for rank in range(2, RANKS + 1) if f"label_{rank}" in rows[0]]
    names = ["predicted", *(f"label_{rank}" for rank in ranks)]
    shares = ["confidence", *(f"share_{rank}" for rank in ranks)]
    seen = {row[name] for row in rows for name in ("label", *names)}
    labels = labels if seen <= set(labels) else tuple(sorted(seen))
    index = {label: number for number, label in enumerate(labels)}
    return Predictions(
        split=rows[0]["split"],
        labels=labels,
        paths=tuple(row["path"] for row in rows),
        targets=np.array([index[row["label"]] for row in rows]),
        choices=np.array([[index[row[name]] for name in names] for row in rows]),
        shares=np.array([[float(row[name]) for name in shares] for row in rows]),
        losses=np.array([float(row["loss"]) for row in rows]),
        uncalibrated=np.array([float(row["uncalibrated"]) for row in rows]) if "uncalibrated" in rows[0] else None,
    )
