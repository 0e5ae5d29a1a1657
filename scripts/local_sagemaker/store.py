"""What survives a restart: records and objects, in one SQLite file."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from local_sagemaker.errors import in_use, not_found

# What Describe answers, times in seconds since 1970. Keys that begin with an underscore are ours and never answered.
Record = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS records (kind TEXT, name TEXT, content TEXT, PRIMARY KEY (kind, name));
CREATE TABLE IF NOT EXISTS objects (bucket TEXT, key TEXT, content BLOB, PRIMARY KEY (bucket, key));
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, region TEXT);
"""


class Store:
    """Records by kind and name. Every method is atomic, from any thread."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        # A killed process loses nothing; only a loss of power may take the last moment.
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement; its rows."""
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def find(self, kind: str, name: str) -> Record | None:
        """A record, or None."""
        rows = self.execute("SELECT content FROM records WHERE kind = ? AND name = ?", kind, name)
        return json.loads(rows[0][0]) if rows else None

    def get(self, kind: str, name: str) -> Record:
        """A record; ApiError when there is none."""
        record = self.find(kind, name)
        if record is None:
            raise not_found(kind, name)
        return record

    def create(self, kind: str, name: str, record: Record) -> Record:
        """A new record with its times; ApiError when the name is taken."""
        now = time.time()
        with self._lock:
            if self.find(kind, name) is not None:
                raise in_use(f'{kind} "{name}" exists already; names must be unique in an account and region.')
            record = {**record, "CreationTime": now, "LastModifiedTime": now}
            self._write(kind, name, record)
        return record

    def change(self, kind: str, name: str, change: Callable[[Record], None]) -> Record:
        """Change a record in place, with nobody between reading and writing."""
        with self._lock:
            record = self.get(kind, name)
            change(record)
            record["LastModifiedTime"] = time.time()
            self._write(kind, name, record)
        return record

    def update(self, kind: str, name: str, **values: Any) -> Record:
        """Set members of a record."""
        return self.change(kind, name, lambda record: record.update(values))

    def delete(self, kind: str, name: str) -> None:
        """Remove a record; ApiError when there is none."""
        with self._lock:
            self.get(kind, name)
            self.execute("DELETE FROM records WHERE kind = ? AND name = ?", kind, name)

    def all(self, kind: str) -> Iterator[Record]:
        """All records of a kind, the newest first."""
        rows = self.execute("SELECT content FROM records WHERE kind = ?", kind)
        yield from sorted((json.loads(row[0]) for row in rows), key=lambda record: -record["CreationTime"])

    def _write(self, kind: str, name: str, record: Record) -> None:
        self.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", kind, name, json.dumps(record))


def public(record: Record) -> Record:
    """A record as Describe answers it; tags are asked for apart."""
    return {key: value for key, value in record.items() if not key.startswith("_") and key != "Tags"}
