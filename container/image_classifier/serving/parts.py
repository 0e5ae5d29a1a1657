"""Requests in one message, and their answers in one: what the front door and a worker say to each other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LENGTH = 4  # bytes of the table's length


@dataclass(frozen=True)
class Part:
    """One of the requests, or the answer to it."""

    headers: Mapping[str, str]
    body: bytes = b""
    status: int = 200


def pack(parts: Sequence[Part]) -> list[bytes]:
    """A message, in pieces: the length of a table, the table in JSON, the bodies."""
    table = json.dumps([[part.status, dict(part.headers), len(part.body)] for part in parts]).encode()
    return [len(table).to_bytes(_LENGTH, "big") + table, *(part.body for part in parts)]


def unpack(data: bytes | bytearray) -> list[Part] | None:
    """What was packed; None while a part of the message is missing."""
    start = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
    if len(data) < max(start, _LENGTH + 1):
        return None
    table = json.loads(str(data[_LENGTH:start], "utf-8"))  # of bytes, json would have to find out what they are
    if len(data) < start + sum(length for *_, length in table):
        return None
    parts, view = [], memoryview(data)
    for status, headers, length in table:
        parts.append(Part(headers, bytes(view[start : start + length]), status))
        start += length
    return parts
