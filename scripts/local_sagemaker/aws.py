"""What moto holds in this process, used from the side of the platform: objects of S3, logs, metrics."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID

from local_sagemaker.errors import invalid
from local_sagemaker.store import Store

ACCOUNT = DEFAULT_ACCOUNT_ID
_CHANGES = {"PUT", "POST", "DELETE"}
_EVENT_BYTES = 256 * 1024  # of one log event, at most


@dataclass(frozen=True)
class Uri:
    """A place in S3."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Read `s3://bucket/key`; ApiError when it is none."""
        parts = urlsplit(text)
        if parts.scheme != "s3" or not parts.netloc:
            raise invalid(f"{text!r} is not an S3 address; write s3://bucket/key.")
        return cls(parts.netloc, parts.path.lstrip("/"))

    def below(self, *names: str) -> "Uri":
        """A place below this one."""
        return Uri(self.bucket, "/".join(filter(None, [self.key.rstrip("/"), *names])))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Objects:
    """S3's objects: moto answers for them, the store keeps them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._s3: Any = get_backend("s3")[ACCOUNT]["aws"]
        for name, region in store.execute("SELECT name, region FROM buckets"):
            self._s3.create_bucket(name, region)
        for bucket, key, content in store.execute("SELECT bucket, key, content FROM objects"):
            self._s3.put_object(bucket, key, content, disable_notification=True)

    def make_bucket(self, name: str) -> None:
        """Have a bucket, new or not."""
        if name not in self._s3.buckets:
            self._s3.create_bucket(name, "us-east-1")
            self._keep_bucket(name)

    def names(self, place: Uri) -> list[str]:
        """Keys that begin with the place's key, sorted; none when the bucket is not there."""
        bucket = self._s3.buckets.get(place.bucket)
        return sorted(key for key in (list(bucket.keys) if bucket else []) if key.startswith(place.key))

    def read(self, place: Uri) -> bytes:
        """An object's content; KeyError when it is not there."""
        bucket = self._s3.buckets.get(place.bucket)
        found = self._s3.get_object(place.bucket, place.key) if bucket else None
        if found is None:
            raise KeyError(str(place))
        return bytes(found.value)

    def write(self, place: Uri, content: bytes) -> None:
        """Put an object; KeyError when the bucket is not there."""
        if place.bucket not in self._s3.buckets:
            raise KeyError(f"s3://{place.bucket}")
        self._s3.put_object(place.bucket, place.key, content)
        self._keep(place.bucket, place.key)

    def remove(self, place: Uri) -> None:
        """Delete an object."""
        self._s3.delete_object(place.bucket, place.key)
        self._keep(place.bucket, place.key)

    def download(self, place: Uri, folder: Path) -> int:
        """All objects below a place as files below a folder; how many."""
        count = 0
        for key in self.names(place):
            name = key[len(place.key) :].lstrip("/") or key.rpartition("/")[2]
            if key.endswith("/") or ".." in Path(name).parts:
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.read(Uri(place.bucket, key)))
            count += 1
        return count

    def notice(self, method: str, path: str, query: str) -> None:
        """Keep what a request to S3 has changed; called after it and before its answer goes out."""
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if method not in _CHANGES or not bucket:
            return
        if key:
            self._keep(bucket, key)
        elif "delete" in parse_qs(query, keep_blank_values=True):
            for (name,) in self._store.execute("SELECT key FROM objects WHERE bucket = ?", bucket):
                self._keep(bucket, name)
        else:
            self._keep_bucket(bucket)

    def _keep(self, bucket: str, key: str) -> None:
        if bucket in self._s3.buckets and key in self._s3.buckets[bucket].keys:
            content = self.read(Uri(bucket, key))
            self._store.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", bucket, key, content)
        else:
            self._store.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, key)

    def _keep_bucket(self, name: str) -> None:
        bucket = self._s3.buckets.get(name)
        self._store.execute("DELETE FROM buckets WHERE name = ?", name)
        if bucket:
            self._store.execute("INSERT INTO buckets VALUES (?, ?)", name, bucket.region_name)


class LogStream:
    """A stream of CloudWatch Logs."""

    def __init__(self, region: str, group: str, stream: str) -> None:
        self._logs: Any = get_backend("logs")[ACCOUNT][region]
        self._group, self._stream = group, stream
        with contextlib.suppress(Exception):  # it exists
            self._logs.create_log_group(group, {})
        with contextlib.suppress(Exception):
            self._logs.create_log_stream(group, stream)

    def put(self, lines: Iterable[str], moment: float = 0) -> None:
        """Append lines, with a time in seconds since 1970, or that of now."""
        now = int((moment or time.time()) * 1000)
        events = [{"timestamp": now, "message": line[:_EVENT_BYTES]} for line in lines if line]
        if events:
            self._logs.put_log_events(self._group, self._stream, events)


def put_metric(
    region: str, namespace: str, dimensions: Mapping[str, str], name: str, value: float, moment: float = 0
) -> None:
    """One value of a metric of a time or of now, where the SDK's analytics and alarms look for it."""
    backend: Any = get_backend("cloudwatch")[ACCOUNT][region]
    of = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    now = datetime.fromtimestamp(moment or time.time(), UTC).replace(tzinfo=None)  # moto compares times without a zone
    datum = {"MetricName": name, "Value": value, "Dimensions": of, "Timestamp": now}
    backend.put_metric_data(namespace, [datum])


def arn(region: str, kind: str, name: str) -> str:
    """A name of SageMaker's, in full."""
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name}"


def new_lines(file: Path, offset: int, ended: bool) -> tuple[list[str], int]:
    """Whole lines after an offset and the offset behind them; the last piece too when no more will come."""
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data if ended else data[: data.rfind(b"\n") + 1]
    # A progress bar writes over its line; what counts is what it says last.
    lines = [line.rpartition("\r")[2] for line in whole.decode(errors="replace").replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line], offset + len(whole)
