"""SIGTERM: SageMaker sends it on a stop, a time limit, early stopping and spot interruption; 120 s later it kills."""

import logging
import signal
import threading
from types import FrameType

logger = logging.getLogger(__name__)

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """The job was asked to stop; raised only where nothing is lost."""


class Stop:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """True from the first signal on."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask for the stop."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped when a stop was asked for."""
        if self.requested:
            raise Stopped

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop; a second SIGINT interrupts at once.

        Those that came before, while `train` held them back (bin/train), are heard now.
        """
        for number in _NUMBERS:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            logger.info("%s received: stopping after this step.", signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.request()
