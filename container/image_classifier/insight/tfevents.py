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
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_TYPES = {1: "f4", 2: "f8", 3: "i4", 4: "u1", 6: "u1", 9: "i8", 10: "?", 18: "c16", 19: "f2"}  # as smdebug maps them


def decode(record: bytes) -> NDArray[Any]:
    """Decode the tensor of one record.

    Raises:
        ValueError: this is not a record with a tensor of numbers.
    """
    data = memoryview(record)[_HEADER : len(record) - _FOOTER]
    for number in (_SUMMARY, _VALUE, _TENSOR):
        data = _field(data, number)
    fields = list(_fields(data))
    kind = next((value for number, value in fields if number == _TYPE), None)
    content = next((value for number, value in fields if number == _CONTENT), b"")
    if kind not in _TYPES or not isinstance(content, bytes | memoryview):
        raise ValueError("the record holds no tensor of numbers")
    shape = next((value for number, value in fields if number == _SHAPE), None)
    sizes = _sizes(shape) if isinstance(shape, memoryview) else []
    return np.frombuffer(content, dtype=_TYPES[kind]).reshape(sizes)


def _sizes(shape: memoryview) -> list[int]:
    dimensions = [value for number, value in _fields(shape) if number == _DIMENSION and isinstance(value, memoryview)]
    return [next((int(v) for n, v in _fields(d) if n == _SIZE and isinstance(v, int)), 0) for d in dimensions]


def _field(data: memoryview, wanted: int) -> memoryview:
    for number, value in _fields(data):
        if number == wanted and isinstance(value, memoryview):
            return value
    raise ValueError("the record holds no tensor")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind not in (_EIGHT_BYTES, _BYTES, _FOUR_BYTES):
            raise ValueError("the record is damaged")
        size, at = _varint(data, at) if kind == _BYTES else (8 if kind == _EIGHT_BYTES else 4, at)
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
    raise ValueError("the record is cut short")
