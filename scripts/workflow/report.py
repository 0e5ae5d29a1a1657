"""What a training job has written beside its model: tables and the report."""

import tarfile
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from desk import DeskError
from ways import OUT
from workflow.account import SCREEN, client, newest
from workflow.settings import Settings


def report(settings: Settings, job: str = "") -> None:
    """Fetch a job's output, of the last job unless one is named; DeskError when it has left none."""
    name = job or newest(settings)
    if not fetch(settings, name):
        raise DeskError(f"training job {name} has left no output in {settings.below('jobs', name)}")


def fetch(settings: Settings, name: str) -> bool:
    """Fetch a job's output and say where it lies; whether there was one."""
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    key = urlsplit(settings.below("jobs", name, "output", "output.tar.gz")).path.lstrip("/")
    archive = folder / "output.tar.gz"
    try:
        client(settings, "s3").download_file(settings.bucket, key, str(archive))
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return False
    _unpack(archive, folder)
    pages = sorted(folder.rglob("report.html"))
    SCREEN.print(f"report: {pages[0]}" if pages else f"output: {folder}")
    return True


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            place = folder / member.name
            if member.isfile() and place.resolve().is_relative_to(folder.resolve()):
                place.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                place.write_bytes(stream.read() if stream else b"")
