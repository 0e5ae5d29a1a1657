"""A folder of pictures to S3: looked at first, and then only what changed."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.progress import track

from workflow.account import SCREEN, client
from workflow.pictures import FOLDERS, PictureSet, look
from workflow.settings import Settings

_AT_A_TIME = 8


def upload(settings: Settings, folder: Path) -> None:
    """Send the pictures that S3 has not, or has otherwise; take away those that are not in the folder any more."""
    pictures = look(folder)
    place = Place(client(settings, "s3"), settings.bucket, urlsplit(settings.data_uri).path.lstrip("/"))
    here = {file.as_posix(): folder / file for file in pictures.files}
    digests = {name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for name, path in here.items()}
    there, notes = place.listed(), place.notes()
    changed = [name for name in here if not is_there(digests[name], there.get(name), notes.get(name))]
    kept = {name: notes[name] for name in here if name in notes and name not in changed}
    try:
        for name, etag in place.send({name: here[name] for name in changed}):
            kept[name] = [digests[name], etag]
    finally:  # an upload that is interrupted goes on where it was
        place.note(kept)
    gone = sorted(name for name in there.keys() - here.keys() if name.partition("/")[0] in FOLDERS)
    place.remove(gone)
    SCREEN.print(_summary(pictures))
    if pictures.others:
        SCREEN.print(f"not sent, for they are no split: {', '.join(pictures.others)}", markup=False)
    SCREEN.print(f"uploaded {len(changed)}, unchanged {len(here) - len(changed)}, removed {len(gone)}")
    SCREEN.print(f"data: {settings.data_uri}")


def is_there(digest: str, etag: str | None, note: list[str] | None) -> bool:
    """Whether S3 has a file as it is here.

    An ETag is the MD5 of the content only where no KMS key encrypts it; else what was noted at the upload tells.

    Args:
        digest: MD5 of the file.
        etag: what S3 lists; None when it lists nothing.
        note: digest and ETag of the last upload.
    """
    return etag is not None and (etag == digest or note == [digest, etag])


@dataclass(frozen=True)
class Place:
    """The pictures in S3, below a prefix, and notes on what was sent."""

    s3: Any
    bucket: str
    prefix: str

    @property
    def notebook(self) -> str:
        """Where the notes lie: beside the pictures, and not where a channel of that prefix would find them."""
        return self.prefix.rpartition("/")[0] + "/uploaded.json"

    def listed(self) -> dict[str, str]:
        """Names and ETags."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        found = (one for page in pages for one in page.get("Contents", []))
        return {one["Key"].removeprefix(f"{self.prefix}/"): one["ETag"].strip('"') for one in found}

    def send(self, files: Mapping[str, Path]) -> Any:
        """Send files, several at a time, with progress; names and ETags."""

        def put(name: str) -> tuple[str, str]:
            body = files[name].read_bytes()
            answer = self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=body)
            return name, answer["ETag"].strip('"')

        with ThreadPoolExecutor(_AT_A_TIME) as workers:
            done = workers.map(put, files)
            yield from track(done, "uploading", len(files), console=SCREEN, transient=True)

    def remove(self, names: list[str]) -> None:
        """Delete files, a thousand a request."""
        for begin in range(0, len(names), 1000):
            objects = [{"Key": f"{self.prefix}/{name}"} for name in names[begin : begin + 1000]]
            self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})

    def notes(self) -> dict[str, list[str]]:
        """Digest and ETag of what was sent; empty before the first upload."""
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=self.notebook)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return {}
        return {name: list(note) for name, note in json.loads(body).items()}

    def note(self, sent: Mapping[str, list[str]]) -> None:
        """Remember what was sent."""
        self.s3.put_object(Bucket=self.bucket, Key=self.notebook, Body=json.dumps(sent).encode())


def _summary(pictures: PictureSet) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in pictures.counts.items())
    return f"{len(pictures.classes)} classes, {len(pictures.files)} pictures ({counts})"
