"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
T = TypeVar("T")
LOG_EVERY = 20.0  # seconds


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass the items through and show how far they are."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, leave=False)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= LOG_EVERY:
            last = time.monotonic()
            logger.info("%s: %d of %d batches (%d %%)", label, done, total, 100 * done // total)
