"""Files of pictures, read by threads: they wait for disks and networks, and Pillow lets go of Python's lock."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

AHEAD = 3  # batches that are read before they are asked for
_THREADS = 16  # more than cores: reading bytes is waiting
T = TypeVar("T")
R = TypeVar("R")


def size(path: Path) -> int:
    """Bytes of the file; -1 when that cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def digests(paths: Sequence[Path]) -> Iterator[bytes]:
    """Digest of each file's content, in order; empty for one that cannot be read: decoding names that one."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="read") as pool:
        for part in in_order(pool, _digest, cut(paths, _THREADS)):
            yield from part


def _digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes()).digest()
    except OSError:
        return b""


def cut(items: Sequence[T], count: int) -> list[list[T]]:
    """So many at a time; the rest at last."""
    return [list(items[i : i + count]) for i in range(0, len(items), count)]


def in_order(pool: ThreadPoolExecutor, read: Callable[[T], R], planned: Sequence[Sequence[T]]) -> Iterator[list[R]]:
    """Run `read` over all items with a bounded lead, and give the results batch by batch."""
    waiting: deque[list[Future[R]]] = deque()
    todo = iter(planned)

    def submit(count: int) -> None:
        waiting.extend([pool.submit(read, item) for item in items] for items in islice(todo, count))

    try:
        submit(AHEAD)
        while waiting:
            batch = waiting.popleft()
            submit(1)
            yield [future.result() for future in batch]
    finally:  # the reader stopped early, or a picture is bad: do not read the rest
        for futures in waiting:
            for future in futures:
                future.cancel()
