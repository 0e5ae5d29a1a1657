"""smdebug's event and index files, byte for byte, without the detour through protobuf written in Python.

protobuf 3.20 takes half a millisecond for a tensor and smdebug starts a thread for every step; encoding the five
messages by hand takes 20 microseconds, which is what lets losses be saved in every step. The layout is TensorFlow's
`event.proto`, `summary.proto` and `tensor.proto` as smdebug 1.0.34 fills them; tests compare with smdebug's bytes.
"""

import json
import os
import struct
import threading
import time
from functools import lru_cache
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from smdebug.core.tfevent.proto.types_pb2 import DataType
from smdebug.core.tfevent.util import _get_proto_dtype
from smdebug.core.tfrecord.record_writer import CHECKSUM_MAGIC_BYTES, masked_crc32c

_WAITING, _LARGE = 64, 1 << 20  # files that may wait to be written; bytes of one that may not
_FOOTER = struct.pack("I", masked_crc32c(CHECKSUM_MAGIC_BYTES))  # smdebug writes no checksum of the content


class Files:
    """Writes files in a thread of its own: on a busy disk, making one takes as long as a step of a head."""

    def __init__(self) -> None:
        self._queue: Queue[tuple[Path, bytes] | None] = Queue(maxsize=_WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="tensors", daemon=True)
        self._thread.start()

    def put(self, path: Path, content: bytes) -> None:
        """Have a file written, whole or not at all, after those before it.

        Raises:
            OSError: a file could not be written, this one or an earlier one.
        """
        self._check()
        self._queue.put((path, content))
        if len(content) > _LARGE:
            self.wait()

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: a file could not be written.
        """
        self._queue.join()
        self._check()

    def close(self) -> None:
        """End the thread, after what waits."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _check(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        for path, content in iter(self._queue.get, None):
            try:
                _replace(path, content)
            except Exception as error:
                self._error = self._error or error
            self._queue.task_done()


class StepWriter:
    """Writes the tensors of one step; in place of smdebug's FileWriter.

    Args:
        files: writes them.
        folder: where the trial is written.
        step: global step.
        worker: such as `worker_0`.
    """

    def __init__(self, files: Files, folder: str, step: int, worker: str) -> None:
        self._files = files
        self._event = Path("events", f"{step:012}", f"{step:012}_{worker}.tfevents")
        self._event_file = Path(folder, self._event)
        self._index_file = Path(folder, "index", f"{step // 1000:09}", f"{step:012}_{worker}.json")
        self._step = step
        self._records: list[bytes] = []
        self._written = 0
        self._payload: list[dict[str, Any]] = []
        self._shapes: list[dict[str, Any]] = []
        self._meta: dict[str, Any] = {}

    def write_tensor(
        self, tdata: np.ndarray[Any, Any], tname: str, mode: Any, mode_step: int, timestamp: float | None = None
    ) -> None:
        """Keep one tensor. Names and arguments are those of smdebug's FileWriter."""
        event = encode(tdata, tname, mode.value, mode_step, self._step, timestamp or time.time())
        header = struct.pack("Q", len(event))
        record = b"".join((header, struct.pack("I", _header_checksum(header)), event, _FOOTER))
        self._meta = {"mode": mode.name, "mode_step": mode_step, "event_file_name": str(self._event)}
        self._payload.append({"tensorname": tname, "start_idx": self._written, "length": len(record)})
        self._records.append(record)
        self._written += len(record)

    def write_shape(
        self, name: str, shape: tuple[int, ...], mode: Any, mode_step: int, original_name: str | None = None
    ) -> None:
        """Keep the shape of one tensor."""
        self._meta = self._meta or {"mode": mode.name, "mode_step": mode_step}
        self._shapes.append({"tensorname": name, "originalname": original_name or name, "shape": shape})

    def flush(self) -> None:
        """Nothing: a step is written as a whole."""

    def close(self) -> None:
        """Write both files, the index last: whoever finds it finds the tensors."""
        if self._records:
            self._files.put(self._event_file, b"".join(self._records))
        if self._meta:
            index = {"meta": self._meta, "tensor_payload": self._payload, "shape_payload": self._shapes}
            self._files.put(self._index_file, json.dumps(index).encode())


def encode(values: np.ndarray[Any, Any], name: str, mode: int, mode_step: int, step: int, seconds: float) -> bytes:
    """The `Event` message of one tensor, in protobuf's wire format."""
    tag = name.encode()
    shape = b"".join(_message(2, _number(1, size) + _message(2, f"{name}_{size}".encode())) for size in values.shape)
    tensor = _number(1, _data_type(values.dtype)) + _message(2, shape) + _message(4, values.tobytes())
    plugins = _plugin("mode_step", str(mode_step)) + _plugin("mode", str(mode))
    value = _message(1, tag) + _message(8, tensor) + _message(9, plugins)
    summary = _message(5, _message(1, value))
    return b"\x09" + struct.pack("<d", seconds) + _number(2, step) + summary


@lru_cache(maxsize=64)
def _data_type(dtype: np.dtype[Any]) -> int:
    return int(DataType.Value(_get_proto_dtype(dtype)[1]))


def _plugin(name: str, content: str) -> bytes:
    return _message(1, _message(1, name.encode()) + _message(2, content.encode()))


def _message(field: int, content: bytes) -> bytes:
    """A field with a length."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    """A field with a whole number; zero is protobuf's default and not written."""
    return _varint(field << 3) + _varint(value) if value else b""


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


@lru_cache(maxsize=1024)
def _header_checksum(header: bytes) -> int:
    return int(masked_crc32c(header))


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; `.tmp` is the name that SageMaker does not upload."""
    partial = f"{path}.tmp"
    try:
        file = open(partial, "wb")  # noqa: SIM115
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(partial, "wb")  # noqa: SIM115
    with file:
        file.write(content)
    os.replace(partial, path)
