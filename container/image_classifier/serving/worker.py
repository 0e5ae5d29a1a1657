"""What MMS calls in its workers: the handler, in a process that ends rather than hangs.

MMS leaves a worker running that did not answer in time, one whose GPU fails every request, and one that reports that
memory ran out while it loads: such a process would stay for ever. Here each ends itself, and MMS starts another one, or
says that the load failed. MMS's Java part (1.1.11) opens pipes of each worker's own for reading and for writing: it
never sees their end, and keeps two threads and two open files for each worker that ever died. Here there are no such.

When memory runs out the kernel chooses whom it ends. Let it be the worker that is loading, whose caller is told 507;
else another worker, which is replaced; never Java or the front door, which all models need.
"""

import copy
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from mms.context import RequestProcessor

from image_classifier import machine
from image_classifier.contract import Settings
from image_classifier.errors import ExitCode
from image_classifier.serving import handler, parts
from image_classifier.serving.sizing import MIB
from image_classifier.serving.wire import DEVICE_LOST, FOLDER_ENV, GROWN, TOGETHER, load_error_file, loaded_file

logger = logging.getLogger(__name__)

LOADING, LOADED = 1000, 500  # of oom_score_adj: the highest is ended first, Java has 0
GRACE = 2  # seconds in which the front door answers 504 before the worker ends
OPENED = 60  # seconds in which Java has opened what it takes for pipes
LEAVE = 0.2  # seconds for answers to go out
MMS = "worker"  # the name of its process object in the program that it starts
PIECE = 1 << 16  # bytes that are read from Java at once


def handle(data: list[dict[str, bytes]] | None, context: Any) -> list[bytes] | None:
    """Load, or answer a batch; see handler.handle."""
    if data is None:
        _load(context)
        return None
    if context.get_request_header(0, TOGETHER):
        return [_answer_together(data[0]["body"], context)]
    return _answer(data, context)


def _answer_together(body: bytes, context: Any) -> bytes:
    """Answer the requests that are packed into one; see batches.py."""
    asked = parts.unpack(body)
    inner = copy.copy(context)
    inner.request_processor = [RequestProcessor(dict(part.headers)) for part in asked]
    replies = _answer([{"body": part.body} for part in asked], inner)
    context.metrics = None
    context.set_response_header(0, TOGETHER, "yes")
    return parts.pack(
        [
            parts.Part(inner.get_response_headers(index), reply, int(inner.get_response_status(index)[0] or 200))
            for index, reply in enumerate(replies)
        ]
    )


def _answer(data: list[dict[str, bytes]], context: Any) -> list[bytes]:
    signal.setitimer(signal.ITIMER_REAL, _deadline())
    try:
        replies = handler.handle(data, context) or []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if any(context.get_response_status(index)[1] == DEVICE_LOST for index in range(len(data))):
        threading.Timer(LEAVE, os._exit, (ExitCode.PLATFORM,)).start()
    if most := _most():
        grown = os.getpid() if _resident() > most else 0
        for index in range(len(data)):  # of one length: Java ends a worker whose headers are longer than it expects
            context.set_response_header(index, GROWN, f"{grown:010d}")
    return replies


@cache
def _deadline() -> int:
    """Seconds; read once, since a worker's environment does not change."""
    return Settings.from_environment().request_seconds + GRACE


@cache
def _most() -> int:
    """Bytes beyond which this worker wants to be replaced, 0 for never; worked out when the model has been loaded."""
    most = (Settings.from_environment().worker_max_mb or 0) * MIB
    if not 0 < most <= _resident():
        return most
    logger.warning("CLASSIFIER_WORKER_MAX_MB is ignored: a worker with this model takes %d MiB.", _resident() // MIB)
    return 0


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _load(context: Any) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, whatever code hangs
    folder = Path(os.environ[FOLDER_ENV])
    _offer_to_kernel(LOADING)
    if MMS in vars(sys.modules["__main__"]):  # not where something else calls
        _write_where_the_parent_writes(folder)
        _read_in_large_pieces()
    try:
        handler.handle(None, context)
    except MemoryError:
        # to end without a word is how the kernel's own out-of-memory killer ends a worker
        load_error_file(folder, context.model_name).unlink(missing_ok=True)
        os._exit(1)
    _offer_to_kernel(LOADED)
    machine.keep_what_is_loaded()
    _most()
    loaded_file(folder, context.model_name, os.getpid()).touch()


def _write_where_the_parent_writes(folder: Path) -> None:
    """Leave Java nothing to wait for: it reads the output of the process that workers are forked from anyway."""
    process = vars(sys.modules["__main__"])[MMS]
    process._remap_io = lambda: None
    for pipe in (Path(process.out), Path(process.err)):
        pipe.unlink()
        pipe.symlink_to(os.devnull)
    for left in folder.glob("*-std???"):  # of workers that were killed, too
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > OPENED:
                left.unlink()


def _read_in_large_pieces() -> None:
    """Spare system calls: MMS's codec reads a request in fifty pieces, four of each header, with one for each."""
    main, stream = sys.modules["__main__"], cache(_Stream)
    read_message = main.retrieve_msg
    main.retrieve_msg = lambda connection: read_message(stream(connection))  # type: ignore[attr-defined]


class _Stream:
    """A connection that is read through a buffer, as far as MMS's codec knows connections."""

    def __init__(self, connection: socket.socket) -> None:
        self.recv = connection.makefile("rb", PIECE).read


def _offer_to_kernel(score: int) -> None:
    with suppress(OSError):  # some hosts allow no change, or none downwards
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="utf-8")
