"""SIGTERM and SIGINT, passed on to a program and all that it started; a user's that is deaf is killed in time."""

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Timer
from types import FrameType, TracebackType

import psutil

logger = logging.getLogger(__name__)

PATIENCE = 110.0  # seconds: SageMaker kills the container 120 s after SIGTERM, and then nobody says why
_AGAIN = 0.2  # seconds until it is looked anew whether the program has started


class Forwarding:
    """While it is entered, this process's signals are the program's; the toolkit forwards none.

    Args:
        patient: nothing is killed, however long it takes.
    """

    def __init__(self, patient: bool = False) -> None:
        self.killed = False
        self._patient = patient
        self._patience = PATIENCE
        self._told: set[psutil.Process] = set()
        self._timer: Timer | None = None
        self._left = Event()

    def __enter__(self) -> "Forwarding":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._timer:
            self._timer.cancel()

    def complaint(self) -> str:
        """What is said of a program that had to be killed."""
        return (
            f"did not end within {self._patience:g} s of SIGTERM and was killed; on SIGTERM, save what is to be kept "
            "and exit."
        )

    def _pass_on(self, number: int, _frame: FrameType | None = None) -> None:
        if self._timer is None and not self._patient:
            self._timer = _later(self._patience, self._kill)
        self.send(number)
        _later(_AGAIN, lambda: self._look_again(number))

    def _look_again(self, number: int) -> None:
        """Where none of those that were told lives, they were the toolkit's helpers, and the program is yet to come."""
        if self._left.is_set():
            return
        if not any(map(_lives, tuple(self._told))):
            self.send(number)
        _later(_AGAIN, lambda: self._look_again(number))

    def _kill(self) -> None:
        self.killed = True
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """To all that run below this process, and to those that were told before and have lost their parent since."""
        self._told.update(psutil.Process().children(recursive=True))
        for each in tuple(self._told):  # another thread may add to them
            with suppress(psutil.Error):  # it has just ended
                each.send_signal(number)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _later(seconds: float, act: Callable[[], None]) -> Timer:
    timer = Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer
