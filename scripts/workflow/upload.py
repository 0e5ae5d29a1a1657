"""A folder of pictures to S3: looked at first, and then only what changed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.progress import track

from workflow.account import SCREEN, client
from workflow.pictures import PictureSet, look
from workflow.settings import Settings

_AT_A_TIME = 8


def upload(settings: Settings, folder: Path) -> None:
    """Send the pictures that S3 has not, or has otherwise; take away those that are not in the folder any more."""
    pictures = look(folder)
    s3, prefix = client(settings, "s3"), urlsplit(settings.data_uri).path.lstrip("/")
    there = _there(s3, settings.bucket, f"{prefix}/")
    here = {f"{prefix}/{file.as_posix()}": folder / file for file in pictures.files}
    changed = [key for key, path in here.items() if there.get(key) != _digest(path)]
    gone = sorted(there.keys() - here.keys())

    def send(key: str) -> None:
        s3.put_object(Bucket=settings.bucket, Key=key, Body=here[key].read_bytes())

    with ThreadPoolExecutor(_AT_A_TIME) as workers:
        for _ in track(workers.map(send, changed), "uploading", len(changed), console=SCREEN, transient=True):
            pass
    for begin in range(0, len(gone), 1000):
        objects = [{"Key": key} for key in gone[begin : begin + 1000]]
        s3.delete_objects(Bucket=settings.bucket, Delete={"Objects": objects, "Quiet": True})
    SCREEN.print(_summary(pictures))
    SCREEN.print(f"uploaded {len(changed)}, unchanged {len(here) - len(changed)}, removed {len(gone)}")
    SCREEN.print(f"data: {settings.data_uri}")


def _there(s3: Any, bucket: str, prefix: str) -> dict[str, str]:
    """Keys below a prefix and the MD5 of what they hold; of an object in parts, which we never send, something else."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {one["Key"]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", [])}


def _digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _summary(pictures: PictureSet) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in pictures.counts.items())
    return f"{len(pictures.classes)} classes, {len(pictures.files)} pictures ({counts})"
