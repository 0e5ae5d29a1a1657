"""SIGTERM and SIGINT, passed on to a user's program and all that it started; what is deaf to them is killed in time."""

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
    """While it is entered, this process's signals are the program's; the toolkit forwards none."""

    def __init__(self) -> None:
        self.killed = False
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
        if self._timer is None:
            self._timer = _later(self._patience, self._kill)
        self._send(number)
        if not (self._told or self._left.is_set()):  # the toolkit has yet to start the program
            _later(_AGAIN, lambda: self._pass_on(number))

    def _kill(self) -> None:
        self.killed = True
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        """To all that run below this process, and to those that were told before and have lost their parent since."""
        self._told.update(psutil.Process().children(recursive=True))
        for each in self._told:
            with suppress(psutil.Error):  # it has just ended
                each.send_signal(number)


def _later(seconds: float, act: Callable[[], None]) -> Timer:
    timer = Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer
