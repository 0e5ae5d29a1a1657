"""The job in a child process, so that one is left to say how the kernel ended it.

The child is forked before torch is imported: it begins at once, and its parent stays small.
"""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable

from image_classifier.errors import PlatformError
from image_classifier.training import endings
from image_classifier.training.forwarding import Forwarding
from image_classifier.training.stopping import Stop

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def run(work: Callable[[], int], stop: Stop) -> int:
    """Do the work in a child process, and pass SIGTERM and SIGINT on to it.

    Args:
        work: gives the exit code; it finds `stop` listening, with all that it has heard.
        stop: has listened so far; from here on the child does.

    Returns:
        How the child ended.

    Raises:
        PlatformError: the kernel ended it; names the signal, and what it means.
    """
    child = multiprocessing.get_context("fork").Process(target=_live, args=(work, os.getpid()))
    child.start()
    with Forwarding(patient=True) as signals:
        if stop.requested:  # it may have come while the child was made, to this process alone
            signals.send(signal.SIGTERM)
        child.join()
    code = int(child.exitcode or 0)
    if code < 0:
        raise PlatformError(f"The job was ended by {endings.words(signal.Signals(-code))}.")
    return code


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent has ended: nothing trains on where `train` was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        signal.raise_signal(signal.SIGKILL)


def _live(work: Callable[[], int], parent: int) -> None:
    end_with(parent)
    os.setsid()  # Ctrl-C on a terminal reaches the parent alone, which passes it on once
    raise SystemExit(work())
