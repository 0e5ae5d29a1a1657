"""The private folder of a `serve`: sockets, MMS's settings, what workers say, large bodies."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from image_classifier.errors import PlatformError

PREFIX = "classifier-"
SETTINGS = "mms.properties"  # by which a folder is known to be a server's


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder, locked as long as it is used; then remove it, and those of servers that were killed before.

    Raises:
        PlatformError: no folder can be made.
    """
    try:
        _sweep(Path(tempfile.gettempdir()))
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        reason = f"A folder for sockets and large bodies cannot be made ({error.strerror or error})"
        raise PlatformError(f"{reason}; give the server a /tmp that it may write to, with free space.") from None
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        os.close(lock)
        shutil.rmtree(made, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for settings in parent.glob(f"{PREFIX}*/{SETTINGS}"):
        with suppress(OSError):  # another's, or removed meanwhile
            _remove_unused(settings.parent)


def _remove_unused(left: Path) -> None:
    lock = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left)
    finally:
        os.close(lock)
