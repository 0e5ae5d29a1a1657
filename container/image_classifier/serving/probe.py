"""Whether a model server that says nothing can still answer: Java is asked, its workers' CPU time is watched.

Where nobody asks for long, a picture of our own is due: only its answer tells whether there would be one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from image_classifier.errors import RequestError
from image_classifier.serving.mms import ModelServer

SILENT_SECONDS = 5.0  # without an answer, before anything is suspected
IDLE_SECONDS = 3.0  # in which workers that have requests take some CPU time
IDLE_CPU = 0.05  # seconds of it
MISSES = 2  # of Java's status, until it counts as stuck
QUIET_SECONDS = 30.0  # without a good answer, until a picture is due
PICTURE_SECONDS = 10.0  # in which it is answered; after a failure the next one is due as soon
FAILURES = 2  # of such pictures in a row, until that is a fault
STUCK = "The model server (Java) does not answer."
HUNG = "All workers have a request, and none does anything."
UNANSWERED = "No picture is answered that is sent to see whether one would be."


@dataclass
class Probe:
    """Listens to a model server."""

    server: ModelServer
    heard: float = field(default_factory=time.monotonic)  # when something was last answered
    _well: float = field(default_factory=time.monotonic)  # and was no failure of the server
    _sent: float = 0.0  # when a picture was last due
    _failures: int = 0  # of pictures since then
    _asked: float = 0.0  # when Java last said that it lives
    _misses: int = 0
    _idle: tuple[float, float] | None = None  # since when, and the CPU seconds spent until then

    def hear(self, status: int) -> None:
        """Something was answered."""
        self.heard = time.monotonic()
        if status < 500:
            self._well, self._failures = self.heard, 0

    def picture_is_due(self) -> bool:
        """Whether there was no good answer for so long that a picture should be sent."""
        pause = PICTURE_SECONDS if self._failures else QUIET_SECONDS
        return time.monotonic() - max(self._well, self._sent) >= pause

    @asynccontextmanager
    async def picture(self) -> AsyncIterator[None]:
        """In this block a picture is sent; it fails when it is refused, or takes too long."""
        self._sent = time.monotonic()
        try:
            async with asyncio.timeout(PICTURE_SECONDS):
                yield
        except (RequestError, TimeoutError):
            self._failures += 1

    def unanswered(self) -> bool:
        """Whether no picture was answered since two of ours were not."""
        return self._failures >= FAILURES

    async def stuck(self) -> bool:
        """Whether Java answers nothing, asked about its state neither."""
        now = time.monotonic()
        if now - self.heard < SILENT_SECONDS:
            self._misses, self._idle = 0, None
        elif now - self._asked > SILENT_SECONDS:
            answers = await self.server.answers()
            self._misses = 0 if answers else self._misses + 1
            self._asked = now if answers else 0.0
        return self._misses >= MISSES

    def idle(self, model: str) -> bool:
        """Whether a model's workers, who have something to do, spend no time on it."""
        now, spent = time.monotonic(), self.server.cpu_seconds(model)
        if now - self.heard < SILENT_SECONDS:
            return False
        if self._idle is None or spent - self._idle[1] > IDLE_CPU or spent < self._idle[1]:
            self._idle = (now, spent)
        return now - self._idle[0] >= IDLE_SECONDS
