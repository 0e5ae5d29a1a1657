"""Admission: so many requests at work, so many waiting, and no more."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from image_classifier.errors import RequestError

FIRST_SECONDS = 5
REST = 3  # times as long as those who came waited in vain: at most a quarter of the time they do


class Gate:
    """Lets requests in, first come, first served.

    Args:
        slots: requests at work at a time.
        queue: requests that may wait.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._queue = queue
        self.waiting = 0
        self.inside = 0

    async def enter(self) -> None:
        """Wait for a slot; who has one gives it back with `leave`.

        Raises:
            RequestError: 503, too many wait already.
        """
        if self._free.locked() and self.waiting >= self._queue:
            raise RequestError(503, "busy", f"{self.waiting} requests are waiting already; try again.")
        self.waiting += 1
        try:
            await self._free.acquire()
            self.inside += 1
        finally:
            self.waiting -= 1

    def leave(self) -> None:
        """Give the slot back."""
        self.inside -= 1
        self._free.release()

    @asynccontextmanager
    async def emptied(self, patience: float) -> AsyncIterator[None]:
        """Nobody is inside during the block; who comes meanwhile waits, and who came before goes first.

        Raises:
            TimeoutError: somebody stayed inside for longer than the patience, in seconds.
        """
        slots = [asyncio.ensure_future(self._free.acquire()) for _ in range(self._slots)]
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*slots)
            yield
        finally:
            for slot in slots:
                if not slot.cancelled():
                    self._free.release()


class Patience:
    """How long gates are kept closed for those inside to leave, and when again where that was too short.

    Args:
        most: seconds.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._seconds = min(FIRST_SECONDS, most)
        self._began = self._again = 0.0

    def begin(self) -> float:
        """Seconds that may be waited now.

        Raises:
            TimeoutError: none, it was too short a while ago.
        """
        self._began = time.monotonic()
        if self._began < self._again:
            raise TimeoutError
        return self._seconds

    def was_too_short(self) -> None:
        """Rest; be more patient the next time."""
        now = time.monotonic()
        self._again = now + REST * (now - self._began)
        self._seconds = min(2 * self._seconds, self._most)
