"""A folder of pictures, looked at before anything is sent: what `train` would refuse is refused here, for nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from desk import DeskError

# As the image reads them (image_classifier/training/dataset.py); a test compares both.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".mpo", ".jfif"}
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test",)}
FOLDERS = tuple(name for names in SPLITS.values() for name in names)
_NAMED = 5  # of the broken ones


@dataclass(frozen=True)
class PictureSet:
    """Labelled pictures: SPLIT/CLASS/PICTURE, with folders in a class or without."""

    folder: Path
    files: tuple[Path, ...]  # relative to the folder
    others: tuple[str, ...] = ()  # what lies in the folder and is no split

    @property
    def classes(self) -> list[str]:
        """All classes, sorted."""
        return sorted({file.parts[1] for file in self.files})

    @property
    def counts(self) -> Mapping[str, int]:
        """Pictures by split."""
        return Counter(file.parts[0] for file in self.files)

    def of(self, split: str) -> Counter[str]:
        """Pictures of a split by class."""
        return Counter(file.parts[1] for file in self.files if file.parts[0] in SPLITS[split])


def look(folder: Path) -> PictureSet:
    """Look at a folder.

    Raises:
        DeskError: it is not laid out as `train` reads it, splits have other classes, or pictures cannot be read.
    """
    for split, names in SPLITS.items():
        both = [f"{name}/" for name in names if (folder / name).is_dir()]
        if len(both) > 1:
            raise DeskError(f"{folder} has {' and '.join(both)}, which are both the split for {split}; keep one")
    if not any((folder / name).is_dir() for name in SPLITS["train"]):
        raise DeskError(
            f"{folder} has no train/<class>/<picture>; lay the pictures out so, with valid/ and test/ beside it"
        )
    files = tuple(sorted(file.relative_to(folder) for name in FOLDERS for file in _seen(folder / name)))
    others = sorted(path.name for path in folder.iterdir() if path.name not in FOLDERS and path.name[0] != ".")
    found = PictureSet(folder, files, tuple(others))
    _check_layout(found)
    _check_classes(found)
    _check_readable(found)
    return found


def _seen(split: Path) -> Iterator[Path]:
    """All files but the hidden ones, whatever they are."""
    for path in split.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(split).parts):
            yield path


def _check_layout(found: PictureSet) -> None:
    loose = [str(file) for file in found.files if len(file.parts) < 3]
    if loose:
        raise DeskError(f"in no folder of a class: {_some(loose)}; each picture lies in <split>/<class>/")
    if len(trained := found.of("train")) < 2:
        raise DeskError(
            f"{found.folder}/train holds {len(trained)} classes with pictures, and a classifier needs two at least; "
            "expected train/<class>/<picture>"
        )
    single = sorted(name for name, count in trained.items() if count < 2)
    if single and not found.of("validation"):
        raise DeskError(
            f"classes with a single picture to train on: {_some(single)}; without valid/ some of each are held out, so "
            "add pictures, or valid/"
        )


def _check_classes(found: PictureSet) -> None:
    trained = found.of("train").keys()
    for split in ("validation", "test"):
        here = found.of(split).keys()
        name = next((file.parts[0] for file in found.files if file.parts[0] in SPLITS[split]), split)
        if here and (unknown := sorted(here - trained)):
            raise DeskError(f"{name}/ has classes that train/ has not: {_some(unknown)}; they must agree")
        if here and (missing := sorted(trained - here)):
            raise DeskError(f"{name}/ has no pictures of these classes of train/: {_some(missing)}; they must agree")


def _check_readable(found: PictureSet) -> None:
    with ThreadPoolExecutor() as workers:
        readable = list(workers.map(lambda file: _is_readable(found.folder / file), found.files))
    broken = [str(file) for file, good in zip(found.files, readable, strict=True) if not good]
    if broken:
        raise DeskError(f"no readable pictures: {_some(broken)}; repair or remove them")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _is_readable(path: Path) -> bool:
    """Whether `train` takes such a name and Pillow decodes all of it; a JPEG at an eighth of its size, for speed."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with Image.open(path) as picture:
            picture.draft(picture.mode, (1, 1))
            picture.load()
    except Exception:  # Pillow's formats raise many kinds
        return False
    return True
