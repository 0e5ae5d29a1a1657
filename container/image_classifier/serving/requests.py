"""From a request's body to its records. Pictures stay encoded until each is asked for, so few are held at a time."""

import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder

from image_classifier.errors import RequestError
from image_classifier.serving.formats import Body, Options

Bytes = bytes | bytearray
Record = Callable[[], Bytes]  # gives an encoded picture, or raises RequestError: that record alone is bad
# A value in JSON takes up to 70 times the bytes of its text: many small ones would fill the memory
VALUES = 64
URL = "A picture is never fetched from a URL (it could lead into your network); send its bytes as base64."
FORMS = '{"instances": [{"b64": "…"}, …]}, {"inputs": ["…", …]}, {"inputs": "…"} or {"b64": "…"}'


@dataclass(frozen=True)
class Records:
    """What a body holds.

    Args:
        many: the body can hold several pictures, and its answer is a list, whatever their number.
    """

    records: Sequence[Record]
    many: bool


def read(body: Bytes, options: Options, limit: int) -> Records:
    """Take a body apart, into at most `limit` records.

    Raises:
        RequestError: 400 not of the form it says, or empty; 413 more records than the limit.
    """
    match options.body:
        case Body.PICTURE:
            return Records([lambda: body], many=False)
        case Body.JSON:
            found = _from_json(body, limit)
        case Body.LINES:
            found = Records(_from_lines(body, limit), many=True)
        case Body.MULTIPART:
            found = Records(_from_multipart(body, options.boundary, limit), many=True)
    if not found.records:
        raise RequestError(400, "no_records", "The body holds no picture.")
    if len(found.records) > limit:
        raise _too_many(limit)
    return found


def _too_many(limit: int) -> RequestError:
    return RequestError(413, "too_many_records", f"The body holds more than {limit} pictures (CLASSIFIER_MAX_RECORDS).")


def _from_json(body: Bytes, limit: int) -> Records:
    match _parse(body, VALUES * limit):
        case {"instances": list(values)} | {"inputs": list(values)}:
            return Records([partial(_picture, value) for value in values], many=True)
        case {"inputs": value}:
            return Records([partial(_picture, value)], many=False)
        case {"b64": _} | {"url": _} as value:
            return Records([partial(_picture, value)], many=False)
        case _:
            raise RequestError(400, "bad_json", f"The JSON is not of a known form; send {FORMS}.")


def _from_lines(body: Bytes, limit: int) -> Sequence[Record]:
    lines = body.split(b"\n", limit + 1)  # a split more than allowed is enough to refuse them
    if not lines[-1].strip():
        lines.pop()
    return [partial(_from_line, line) for line in lines]


def _from_line(line: Bytes) -> Bytes:
    match _parse(line, VALUES):
        case {"inputs": value}:
            return _picture(value)
        case value:
            return _picture(value)


def _from_multipart(body: Bytes, boundary: str, limit: int) -> Sequence[Record]:
    decoder = MultipartDecoder(boundary.encode(), max_parts=limit)
    decoder.receive_data(bytes(body))
    decoder.receive_data(None)
    parts: list[bytearray] = []
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            _collect(event, parts)
    except RequestEntityTooLarge:
        raise _too_many(limit) from None
    except ValueError:
        reason = "The multipart body is damaged or ends early; send it as its boundary says."
        raise RequestError(400, "bad_body", reason) from None
    return [partial(bytes, part) for part in parts]


def _collect(event: Event, parts: list[bytearray]) -> None:
    if isinstance(event, File | Field):
        parts.append(bytearray())
    elif isinstance(event, Data):
        parts[-1] += event.data


def _parse(text: Bytes, limit: int) -> Any:
    """Parse JSON of at most so many values.

    Raises:
        RequestError: 400, not JSON, or too many values.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > limit:
        raise RequestError(400, "bad_json", f"The JSON holds more than {limit} values; send {FORMS}.")
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(400, "bad_json", f"This is not valid JSON in UTF-8 ({reason}).") from None


def _picture(value: Any) -> bytes:
    match value:
        case {"b64": str(text)} | str(text):
            return _from_base64(text)
        case {"url": _}:
            raise RequestError(400, "url_refused", URL)
        case _:
            raise RequestError(400, "bad_record", 'A record must be {"b64": "…"}, or a text of base64.')


def _from_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        if "://" in text[:20]:
            raise RequestError(400, "url_refused", URL) from None
        raise RequestError(
            400, "bad_base64", f"The picture is not plain base64 ({error}); send no line breaks."
        ) from None
