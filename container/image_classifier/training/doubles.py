"""Pictures that are in two splits: then the accuracy on the second is better than the network."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from image_classifier.training import reading

logger = logging.getLogger(__name__)


def count(train: Iterable[Path], other: Iterable[Path]) -> int:
    """Number of files of `other` with the very bytes of a file of `train`; reads only files of the same size."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in train:
        by_size[reading.size(path)].append(path)
    by_size.pop(-1, None)
    alike = {path: size for path in other if (size := reading.size(path)) in by_size}
    twins = [twin for size in set(alike.values()) for twin in by_size[size]]
    known = {*reading.digests(twins)} - {b""}
    return sum(content in known for content in reading.digests([*alike]))


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
