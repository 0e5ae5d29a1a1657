"""What MMS calls in its workers: the handler, in a process that ends rather than hangs.

MMS starts workers and has them load; requests come from the front door itself, on a line of the worker's own.

MMS leaves a worker running that did not answer in time, one whose GPU fails every request, and one that reports that
memory ran out while it loads: such a process would stay for ever. Here each ends itself, and MMS starts another one, or
says that the load failed. MMS's Java part (1.1.11) opens pipes of each worker's own for reading and for writing: it
never sees their end, and keeps two threads and two open files for each worker that ever died. Here there are no such.

When memory runs out the kernel chooses whom it ends. Let it be the worker that is loading, whose caller is told 507;
else another worker, which is replaced; never Java or the front door, which all models need.
"""

import logging
import os
import select
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
from image_classifier.serving import handler
from image_classifier.serving.parts import Part, pack, unpack
from image_classifier.serving.sizing import MIB
from image_classifier.serving.wire import (
    DEVICE_LOST,
    FOLDER_ENV,
    GROWN,
    LINE,
    MODEL,
    PID,
    REQUEST_ID,
    load_error_file,
)

logger = logging.getLogger(__name__)

LOADING, LOADED = 1000, 500  # of oom_score_adj: the highest is ended first, Java has 0
GRACE = 2  # seconds in which the front door answers 504 before the worker ends
OPENED = 60  # seconds in which Java has opened what it takes for pipes
LEAVE = 0.2  # seconds for answers to go out
MMS = "worker"  # the name of its process object in the program that it starts
AWAKE = 0.001  # seconds: with many callers the next request comes sooner than a core that sleeps wakes up
PIECE = 1 << 18  # bytes that are read at once


def handle(data: list[dict[str, bytes]] | None, context: Any) -> list[bytes] | None:
    """Load, or answer a batch; see handler.handle."""
    if data is None:
        _load(context)
        return None
    return _answer(data, context)


def _answer(data: list[dict[str, bytes]], context: Any) -> list[bytes]:
    signal.setitimer(signal.ITIMER_REAL, _deadline())
    try:
        replies = handler.handle(data, context) or []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if any(context.get_response_status(index)[1] == DEVICE_LOST for index in range(len(data))):
        threading.Timer(LEAVE, os._exit, (ExitCode.PLATFORM,)).start()
    if 0 < _most() < _resident():
        for index in range(len(data)):
            context.set_response_header(index, GROWN, str(os.getpid()))
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
    if _is_mms():
        _write_where_the_parent_writes(folder)
    try:
        handler.handle(None, context)
    except MemoryError:
        # to end without a word is how the kernel's own out-of-memory killer ends a worker
        load_error_file(folder, context.model_name).unlink(missing_ok=True)
        os._exit(1)
    _offer_to_kernel(LOADED)
    machine.keep_what_is_loaded()
    _most()
    if _is_mms():
        _take_requests(call_in(folder, context.model_name), context)


def _is_mms() -> bool:
    """Whether MMS calls, not something else."""
    return MMS in vars(sys.modules["__main__"])


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


def call_in(folder: Path, model: str) -> socket.socket:
    """Tell the front door that this worker can take requests; gives the line on which they come."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(str(folder / LINE))
        line.sendall(b"".join(pack([Part({MODEL: model, PID: str(os.getpid())})])))
        if not line.recv(1):  # the greeting
            sys.exit()
    except BaseException:
        line.close()
        raise
    return line


def _take_requests(line: socket.socket, context: Any) -> None:
    """Have MMS's loop, while it waits for what Java says next, answer the front door."""
    main, ready = sys.modules["__main__"], select.poll()
    read_command = main.retrieve_msg
    ready.register(line, select.POLLIN)

    def retrieve(java: socket.socket) -> Any:
        ready.register(java, select.POLLIN)
        while java.fileno() not in _heard(ready):
            _answer_next(line, context)
        return read_command(java)

    main.retrieve_msg = retrieve  # type: ignore[attr-defined]


def _heard(ready: "select.poll") -> set[int]:
    """Wait until something can be read, and say where; awake at first, but for whoever needs the core."""
    end = time.monotonic() + _awake()
    while not (told := ready.poll(0)) and time.monotonic() < end:
        os.sched_yield()
    return {number for number, _ in told or ready.poll()}


@cache
def _awake() -> float:
    return 0 if machine.are_rationed() else AWAKE


def _answer_next(line: socket.socket, context: Any) -> None:
    """Answer the requests of one message."""
    asked = _read(line)
    context.request_processor = [RequestProcessor(part.headers) for part in asked]
    context.request_ids = {index: part.headers.get(REQUEST_ID, "") for index, part in enumerate(asked)}
    replies = _answer([{"body": part.body} for part in asked], context)
    said = [
        Part(context.get_response_headers(index), reply, int(context.get_response_status(index)[0] or 200))
        for index, reply in enumerate(replies)
    ]
    line.sendall(b"".join(pack(said)))


def _read(line: socket.socket) -> list[Part]:
    """Read a message; where the front door has hung up, end."""
    data = bytearray()
    while (parts := unpack(data)) is None:
        piece = line.recv(PIECE)
        if not piece:
            sys.exit()
        data += piece
    return parts


def _offer_to_kernel(score: int) -> None:
    with suppress(OSError):  # some hosts allow no change, or none downwards
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="utf-8")
