"""From channels to labelled pictures: splits, classes, and their checks. No pixel is read here."""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_classifier.errors import UserError
from image_classifier.training import reading

logger = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".mpo", ".jfif"}
# name of the split -> names of the channel or folder that holds it
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test",)}
LAYOUT_HELP = (
    "give one channel `training` holding train/, valid/ and test/, or channels `train`, `validation` and `test`; "
    "each holds one folder of pictures for each class"
)


@dataclass(frozen=True)
class Split:
    """Pictures of one split, and the index of each one's class."""

    paths: tuple[Path, ...]
    targets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> list[tuple[str, str, int]]:
        """Class folder, name and size of each picture: what tells splits apart without reading a picture."""
        return [(path.parent.name, path.name, reading.size(path)) for path in self.paths]

    def by_class(self) -> dict[int, list[Path]]:
        """Pictures of each class."""
        pictures = defaultdict(list)
        for path, target in zip(self.paths, self.targets, strict=True):
            pictures[target].append(path)
        return pictures

    def counts(self) -> tuple[int, ...]:
        """Number of pictures of each class."""
        counted = Counter(self.targets)
        return tuple(counted[target] for target in range(max(counted) + 1))


@dataclass(frozen=True)
class Dataset:
    """All splits of a job; `test` may be absent."""

    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None

    def smallest(self) -> int:
        """Number of pictures in the smallest split."""
        return min(len(split) for split in (self.train, self.validation, self.test) if split)

    def needed(self) -> dict[str, frozenset[Path]]:
        """Pictures of which one must be usable for each class to be learnt and validated, by what they are called."""
        return {
            f"{use} pictures of class {self.classes[index]}": frozenset(pictures)
            for use, split in (("training", self.train), ("validation", self.validation))
            for index, pictures in split.by_class().items()
        }

    def describe(self) -> str:
        """One line with the counts."""
        test = len(self.test) if self.test else 0
        return (
            f"Data: {len(self.classes)} classes; {len(self.train)} pictures to train on, "
            f"{len(self.validation)} to validate, {test} to test."
        )


def find(channels: Mapping[str, Path], validation_fraction: float, seed: int) -> Dataset:
    """Read the folders of a job's channels.

    Args:
        channels: name and folder of each channel.
        validation_fraction: share of the training pictures held out when there is no validation split.
        seed: decides which ones.

    Raises:
        UserError: no training pictures, fewer than two classes, or splits whose classes differ.
    """
    folders = split_folders(channels)
    if "train" not in folders:
        found = ", ".join(channels) or "none"
        raise UserError(f"There is no training data (channels found: {found}); {LAYOUT_HELP}.")
    pictures = {split: _by_class(folder) for split, folder in folders.items()}
    classes = tuple(sorted(pictures["train"]))
    if len(classes) < 2:
        raise UserError(
            f"{folders['train']} holds {len(classes)} folder(s) with pictures, but a classifier needs at least two; "
            f"{LAYOUT_HELP}."
        )
    for split, by_class in pictures.items():
        _check_classes(set(classes), set(by_class), split)
    splits = {split: _as_split(by_class, classes) for split, by_class in pictures.items()}
    if "validation" not in splits:
        splits["train"], splits["validation"] = hold_out(splits["train"], validation_fraction, seed)
        logger.info(
            "There is no validation split: %d of %d training pictures are held out for it, by class, with seed %d.",
            len(splits["validation"]),
            len(splits["train"]) + len(splits["validation"]),
            seed,
        )
    return Dataset(classes, splits["train"], splits["validation"], splits.get("test"))


def check_modes(channels: Mapping[str, Any]) -> None:
    """Check that all channels are folders: File and FastFile mode are, Pipe mode is not.

    Args:
        channels: content of `inputdataconfig.json`.

    Raises:
        UserError: one is a pipe.
    """
    for name, mode in _modes(channels).items():
        if mode == "Pipe":
            raise UserError(
                f"The channel {name} comes in Pipe mode, which has no folders; "
                "give it TrainingInputMode=FastFile, which streams as well, or File."
            )


def streams(channels: Mapping[str, Any]) -> bool:
    """Whether files come over the network as they are read: FastFile mode.

    Args:
        channels: content of `inputdataconfig.json`.
    """
    return "FastFile" in _modes(channels).values()


def _modes(channels: Mapping[str, Any]) -> dict[str, str]:
    told = {name: channel for name, channel in channels.items() if isinstance(channel, Mapping)}
    return {name: str(channel.get("TrainingInputMode")) for name, channel in told.items()}


def check_same(seen: Sequence[tuple[str, str]]) -> None:
    """Check that all processes of a job see the same pictures.

    Args:
        seen: fingerprint and description of what each one sees.

    Raises:
        UserError: they do not.
    """
    if len({key for key, _ in seen}) > 1:
        parts = " ".join(f"Process {rank}: {text}" for rank, (_, text) in enumerate(seen))
        raise UserError(
            "The hosts of this job see different pictures; give every host all of them "
            f"(S3DataDistributionType=FullyReplicated). {parts}"
        )


def split_folders(channels: Mapping[str, Path]) -> dict[str, Path]:
    """Find the folder of each split: inside one channel, in channels of their own, or both."""
    own = {split: channels[name] for split, names in SPLITS.items() for name in reversed(names) if name in channels}
    for name in SPLITS["train"]:
        inside = _inside(channels[name]) if name in channels else {}
        if "train" in inside and _has_folders(inside["train"]):  # without: a class of that name
            return own | inside
    return own


def _inside(channel: Path) -> dict[str, Path]:
    return {
        split: channel / name
        for split, names in SPLITS.items()
        for name in reversed(names)
        if (channel / name).is_dir()
    }


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() for entry in folder.iterdir())


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Pictures by class: each folder is a class, hidden files are none, folders inside a class belong to it."""
    by_class = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            pictures = sorted(path for path in entry.rglob("*") if _is_picture(path, entry))
            if pictures:
                by_class[entry.name] = pictures
            else:
                logger.warning("%s/%s holds no pictures, so there is no such class.", folder.name, entry.name)
    return by_class


def _is_picture(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _check_classes(train: set[str], other: set[str], split: str) -> None:
    missing, extra = sorted(train - other), sorted(other - train)
    if missing or extra:
        parts = [f"{split} has no pictures of {_some(missing)}"] if missing else []
        parts += [f"train has no pictures of {_some(extra)}, which {split} has"] if extra else []
        raise UserError(
            f"The classes of train and {split} differ: {'; '.join(parts)}; give both the same class folders."
        )


def _some(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _as_split(by_class: Mapping[str, list[Path]], classes: tuple[str, ...]) -> Split:
    rows = [(path, index) for index, name in enumerate(classes) for path in by_class[name]]
    return Split(tuple(path for path, _ in rows), tuple(index for _, index in rows))


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Take a share of every class out of a split, at least one picture and never all of a class.

    Raises:
        UserError: a class has a single picture, so there is none to hold out.
    """
    members = defaultdict(list)
    for position, target in enumerate(split.targets):
        members[target].append(position)
    held: set[int] = set()
    for target, positions in members.items():
        if len(positions) < 2:
            raise UserError(
                f"Class {split.paths[positions[0]].parent.name} has a single training picture, so none can be held out "
                "for validation; add pictures, or give a validation split."
            )
        count = min(max(1, round(fraction * len(positions))), len(positions) - 1)
        held.update(random.Random(f"{seed}-{target}").sample(positions, count))
    return _pick(split, lambda i: i not in held), _pick(split, lambda i: i in held)


def _pick(split: Split, wanted: Callable[[int], bool]) -> Split:
    rows = [i for i in range(len(split)) if wanted(i)]
    return Split(tuple(split.paths[i] for i in rows), tuple(split.targets[i] for i in rows))
