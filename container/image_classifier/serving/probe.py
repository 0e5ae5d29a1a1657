"""Whether a model server that says nothing can still answer: Java is asked, its workers' CPU time is watched."""

import time
from dataclasses import dataclass, field

from image_classifier.serving.mms import ModelServer

SILENT_SECONDS = 5.0  # without an answer, before anything is suspected
IDLE_SECONDS = 3.0  # in which workers that have requests take some CPU time
IDLE_CPU = 0.05  # seconds of it
MISSES = 2  # of Java's status, until it counts as stuck
STUCK = "The model server (Java) does not answer."
HUNG = "All workers have a request, and none does anything."


@dataclass
class Probe:
    """Listens to a model server."""

    server: ModelServer
    heard: float = field(default_factory=time.monotonic)  # when something was last answered
    _asked: float = 0.0  # when Java last said that it lives
    _misses: int = 0
    _idle: tuple[float, float] | None = None  # since when, and the CPU seconds spent until then

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
