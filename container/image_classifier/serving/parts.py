"""Requests in one body, and their answers in one: the form that the front door and the workers share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One of the requests, or the answer to it."""

    headers: Mapping[str, str]
    body: bytes
    status: int = 200

    async def read(self) -> bytes:
        """The body, as aiohttp's responses give it."""
        return self.body


def pack(parts: Sequence[Part]) -> bytes:
    """The length of a table in four bytes, the table in JSON, the bodies."""
    table = json.dumps([[part.status, dict(part.headers), len(part.body)] for part in parts]).encode()
    return b"".join([len(table).to_bytes(4, "big"), table, *(part.body for part in parts)])


def unpack(data: bytes) -> list[Part]:
    """What was packed."""
    start = 4 + int.from_bytes(data[:4], "big")
    parts = []
    for status, headers, length in json.loads(data[4:start]):
        parts.append(Part(headers, data[start : start + length], status))
        start += length
    return parts
