"""model.tar.gz and output.tar.gz: the content of a directory, packed and unpacked as SageMaker does it."""

import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path


def pack(folders: Iterable[Path]) -> bytes:
    """The content of directories, with paths relative to each."""
    stream = io.BytesIO()
    # Weights hardly shrink; the time is better spent elsewhere.
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        for path in (path for folder in folders for path in sorted(folder.iterdir())):
            tar.add(path, arcname=path.name)
    return stream.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Unpack files and folders; tarfile.TarError for what is no archive, or has links or paths that lead out of it."""
    # Debian's Python 3.11 has no extraction filters yet.
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
        for member in tar:
            place = folder / member.name
            if not place.resolve().is_relative_to(folder.resolve()) or not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"{member.name} is no plain file below the archive's own folder")
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as stream:
                shutil.copyfileobj(tar.extractfile(member) or io.BytesIO(), stream)
