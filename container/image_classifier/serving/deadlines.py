"""When each request must be answered, and that all are before the server ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from image_classifier.errors import RequestError

SOONER = "try again, or send less at a time; what takes long is for an asynchronous endpoint or a batch transform"


class Deadlines:
    """The deadlines of the requests in flight.

    Args:
        seconds: that a request may take.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._open: set[asyncio.Timeout] = set()
        self._dropped: set[asyncio.Timeout] = set()
        self._end = float("inf")

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """End the block when its time is over.

        Raises:
            RequestError: 504 it was; 503 the server's time was.
        """
        when = asyncio.get_running_loop().time() + self._seconds
        deadline = asyncio.timeout_at(min(when, self._end))
        self._open.add(deadline)
        try:
            async with deadline:
                yield
        except TimeoutError:
            if when > self._end:
                raise _shutting_down() from None
            raise RequestError(504, "timeout", f"No answer within {self._seconds} seconds; {SOONER}.") from None
        finally:
            self._open.discard(deadline)

    @asynccontextmanager
    async def dropped(self) -> AsyncIterator[None]:
        """End the block as soon as the server begins to end: what it makes serves nobody then.

        Raises:
            RequestError: 503, it does.
        """
        if self._end < float("inf"):
            raise _shutting_down()
        limit = asyncio.timeout(None)
        self._dropped.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError:
            raise _shutting_down() from None
        finally:
            self._dropped.discard(limit)

    def bring_forward(self, end: float) -> None:
        """Let no request take longer than until then, in the event loop's time."""
        self._end = end
        for limit in self._dropped:
            limit.reschedule(0)
        for deadline in self._open:
            deadline.reschedule(min(end, deadline.when() or end))


def _shutting_down() -> RequestError:
    return RequestError(503, "shutting_down", "The server is shutting down; try again.")
