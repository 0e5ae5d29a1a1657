"""A part that may fail: one line in the log, and it is off."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


class Guarded(Generic[T]):
    """Holds a part, and lets nothing that it raises come out.

    Args:
        name: for the line in the log: `SageMaker Debugger: hook`.
        abandon: what to do with a part that failed.
    """

    def __init__(self, name: str, abandon: Callable[[T], object] = lambda _: None) -> None:
        self._name, self._abandon = name, abandon
        self.part: T | None = None

    def make(self, maker: Callable[[], T]) -> None:
        """Make the part."""
        try:
            self.part = maker()
        except Exception as error:
            self._off(error)

    def do(self, action: Callable[[T], R]) -> R | None:
        """Let the part act; None where it is off."""
        if self.part is None:
            return None
        try:
            return action(self.part)
        except Exception as error:
            self._off(error)
            return None

    def _off(self, error: Exception) -> None:
        part, self.part = self.part, None
        reason = (str(error).splitlines() or [""])[0]
        logger.warning("%s off (%s: %s).", self._name, type(error).__name__, reason)
        if part is not None:
            try:
                self._abandon(part)
            except Exception:
                logger.debug("%s could not be put away.", self._name, exc_info=True)
