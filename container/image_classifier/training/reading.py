"""Files of pictures, read as bytes: none of it fails for a file that cannot be read; decoding names that one."""

import hashlib
from pathlib import Path


def size(path: Path) -> int:
    """Bytes of the file; -1 when that cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def digest(path: Path) -> bytes:
    """Digest of the file's content; empty when it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes()).digest()
    except OSError:
        return b""
