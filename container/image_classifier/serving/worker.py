"""What MMS calls in its workers: the handler, in a process that ends rather than hangs.

MMS leaves a worker running that did not answer in time, and one that reports that memory ran out while it loads: such
a process would stay for ever. Here each ends itself, and MMS starts another one, or says that the load failed.
"""

import os
import signal
from pathlib import Path
from typing import Any

from image_classifier.contract import Settings
from image_classifier.serving import handler
from image_classifier.serving.wire import LOAD_ERROR_ENV, load_error_file, loaded_file

GRACE = 2  # seconds in which the front door answers 504 before the worker ends


def handle(data: list[dict[str, bytes]] | None, context: Any) -> list[bytes] | None:
    """Load, or answer a batch; see handler.handle."""
    if data is None:
        _load(context)
        return None
    signal.setitimer(signal.ITIMER_REAL, Settings.from_environment().request_seconds + GRACE)
    try:
        return handler.handle(data, context)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _load(context: Any) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, whatever code hangs
    folder = Path(os.environ[LOAD_ERROR_ENV])
    try:
        handler.handle(None, context)
    except MemoryError:
        # to end without a word is how the kernel's own out-of-memory killer ends a worker
        load_error_file(folder, context.model_name).unlink(missing_ok=True)
        os._exit(1)
    loaded_file(folder, context.model_name, os.getpid()).touch()
