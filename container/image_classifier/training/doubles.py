"""Pictures that are in two splits: then the accuracy on the second is better than the network."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)


def count(train: Iterable[Path], other: Iterable[Path]) -> int:
    """Number of files of `other` with the very bytes of a file of `train`; reads only files of the same size."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in train:
        by_size[path.stat().st_size].append(path)

    @cache
    def digests(size: int) -> set[bytes]:
        return {_digest(path) for path in by_size.get(size, ())}

    sizes = ((path, path.stat().st_size) for path in other)
    return sum(_digest(path) in digests(size) for path, size in sizes if size in by_size)


def warn(found: Mapping[str, int], test_in_validation: int = 0) -> None:
    """Say how many pictures of which split are training pictures, too, and how many of the test validation's."""
    for split in (split for split, number in found.items() if number):
        logger.warning(
            "Leakage: the very bytes of %d %s picture(s) are training pictures, too, so its accuracy is too good; "
            "remove them on one side.",
            found[split],
            split,
        )
    if test_in_validation:
        logger.warning(
            "Leakage: the very bytes of %d test picture(s) are validation pictures, too: the best epoch is chosen by "
            "them, so the test accuracy is a little too good; remove them on one side.",
            test_in_validation,
        )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
