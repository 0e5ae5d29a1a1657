"""Large bodies and answers, in files: so the front door holds none of them.

A file lies in the private folder of `serve`, and only its plain name is handed on, never a path. Who reads a file
removes it; the front door, which gives answers their names, removes those of requests that ended before.
"""

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from image_classifier.errors import RequestError, is_full_disk

PREFIX = "body-"
ANSWER = f"{PREFIX}answer-"  # and a number


def create(folder: Path) -> BinaryIO:
    """Open a new file to write to; its `name` is its path."""
    return cast(BinaryIO, tempfile.NamedTemporaryFile(prefix=PREFIX, dir=folder, delete=False))


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a new file.

    Raises:
        ValueError: this is not the plain name of such a file.
        RequestError: 503, the disk is full.
    """
    path = _path(folder, name)
    try:
        path.write_bytes(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise refusal(error) from None


def take(folder: Path, name: str) -> BinaryIO:
    """Open a file to read, and remove it: it is gone when it is closed.

    Raises:
        ValueError: this is not the plain name of such a file.
        RequestError: 503, it has been removed, since its request has ended.
    """
    path = _path(folder, name)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise RequestError(503, "gone", "The request has ended already.") from None
    path.unlink(missing_ok=True)
    return file


def _path(folder: Path, name: str) -> Path:
    if Path(name).name != name or not name.startswith(PREFIX):
        raise ValueError(f"{name!r} is not the name of a body.")
    return folder / name


def refusal(error: OSError) -> Exception:
    """What a request is told when its file cannot be written; an error that is no full disk is told by itself."""
    if not is_full_disk(error):
        return error
    return RequestError(503, "disk_full", "The server's disk has no room for a body of this size now; try again.")
