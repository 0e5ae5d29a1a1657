"""A folder of pictures, looked at before anything is sent."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from desk import DeskError

SPLITS = ("train", "valid", "test")
_NAMED = 5  # of the broken ones


@dataclass(frozen=True)
class PictureSet:
    """Labelled pictures: SPLIT/CLASS/PICTURE."""

    folder: Path
    files: tuple[Path, ...]  # relative to the folder

    @property
    def classes(self) -> list[str]:
        """All classes, sorted."""
        return sorted({file.parts[1] for file in self.files})

    @property
    def counts(self) -> Mapping[str, int]:
        """Pictures by split."""
        return Counter(file.parts[0] for file in self.files)


def look(folder: Path) -> PictureSet:
    """Look at a folder.

    Raises:
        DeskError: it is not laid out as `train` reads it, splits have other classes, or pictures cannot be read.
    """
    if not (folder / "train").is_dir():
        raise DeskError(
            f"{folder} has no train/<class>/<picture>; lay the pictures out so, with valid/ and test/ beside it"
        )
    files = tuple(sorted(_files(folder)))
    if not files:
        raise DeskError(f"{folder / 'train'} holds no pictures; expected train/<class>/<picture>")
    found = PictureSet(folder, files)
    _check_classes(found)
    _check_readable(found)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for split in SPLITS:
        for path in (folder / split).glob("*/*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(folder)


def _check_classes(found: PictureSet) -> None:
    trained = {file.parts[1] for file in found.files if file.parts[0] == "train"}
    for split in SPLITS[1:]:
        unknown = {file.parts[1] for file in found.files if file.parts[0] == split} - trained
        if unknown:
            raise DeskError(
                f"{split}/ has classes that train/ has not: {', '.join(sorted(unknown)[:_NAMED])}; they must agree"
            )


def _check_readable(found: PictureSet) -> None:
    with ThreadPoolExecutor() as workers:
        readable = list(workers.map(lambda file: _is_readable(found.folder / file), found.files))
    broken = [str(file) for file, good in zip(found.files, readable, strict=True) if not good]
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise DeskError(f"no readable pictures: {', '.join(broken[:_NAMED])}{more}; repair or remove them")


def _is_readable(path: Path) -> bool:
    """Whether Pillow knows the format and can decode all of it; a JPEG at an eighth of its size, for speed."""
    try:
        with Image.open(path) as picture:
            picture.draft(picture.mode, (1, 1))
            picture.load()
    except Exception:  # Pillow's formats raise many kinds
        return False
    return True
