"""Decodes the tensors in smdebug's event files: TensorFlow's records of protocol buffers, as far as smdebug uses them.

smdebug reads them with pure-Python protobuf, a quarter of a millisecond for each of thousands of small tensors: more
than a run may be judged in. And importing it takes seconds, which a report on a finished run need not wait for.
Form: https://github.com/tensorflow/tensorflow/blob/v2.16.1/tensorflow/core/util/event.proto (and summary, tensor).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER, _FOOTER = 12, 4  # length and checksum before a record, checksum after it
_SUMMARY, _VALUE, _TENSOR = 5, 1, 8  # fields of Event, Summary and Summary.Value
_TYPE, _SHAPE, _CONTENT, _DIMENSION, _SIZE = 1, 2, 4, 2, 1  # fields of TensorProto, TensorShapeProto and its Dim
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # kinds of field; bytes of the fixed ones
Place = tuple[int, int]  # start and end in the record
_TYPES = {1: "f4", 2: "f8", 3: "i4", 4: "u1", 6: "u1", 9: "i8", 10: "?", 18: "c16", 19: "f2"}  # as smdebug maps them


def decode(record: bytes) -> NDArray[Any]:
    """Decode the tensor of one record.

    Raises:
        ValueError: this is not a record with a tensor of numbers.
    """
    place = (_HEADER, len(record) - _FOOTER)
    for number in (_SUMMARY, _VALUE, _TENSOR):
        place = _bytes_field(record, place, number)
    fields = {number: value for number, value in _fields(record, place)}
    kind, content, shape = (fields.get(number) for number in (_TYPE, _CONTENT, _SHAPE))
    if not isinstance(kind, int) or kind not in _TYPES:
        raise ValueError("the record holds no tensor of numbers")
    start, end = content if isinstance(content, tuple) else (0, 0)
    values = np.frombuffer(record[start:end], dtype=_TYPES[kind])
    return values.reshape(_sizes(record, shape) if isinstance(shape, tuple) else [])


def _sizes(record: bytes, shape: Place) -> list[int]:
    dimensions = [value for number, value in _fields(record, shape) if number == _DIMENSION]
    found = (dict(_fields(record, place)) for place in dimensions if isinstance(place, tuple))
    return [size if isinstance(size := fields.get(_SIZE), int) else 0 for fields in found]


def _bytes_field(record: bytes, place: Place, wanted: int) -> Place:
    for number, value in _fields(record, place):
        if number == wanted and isinstance(value, tuple):
            return value
    raise ValueError("the record holds no tensor")


def _fields(record: bytes, place: Place) -> Iterator[tuple[int, int | Place]]:
    """Number and value of each field of the message at a place; for bytes, their own place."""
    at, end = place
    while at < end:
        tag, at = _varint(record, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(record, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            size, at = _varint(record, at)
            yield tag >> 3, (at, at + size)
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError("the record is damaged")


def _varint(record: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while at < len(record):
        byte = record[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("the record is cut short")
