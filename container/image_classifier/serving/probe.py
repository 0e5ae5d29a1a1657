"""Whether a model server that says nothing can still answer: Java is asked, its workers' CPU time is watched."""

import time
from dataclasses import dataclass, field

from image_classifier.serving.gate import Gate
from image_classifier.serving.mms import ModelServer

SILENT_SECONDS = 5.0  # without an answer, before anything is suspected
IDLE_SECONDS = 3.0  # in which workers that have requests take some CPU time
IDLE_CPU = 0.05  # seconds of it
MISSES = 2  # of Java's status, until it counts as stuck
STUCK = "The model server (Java) does not answer."
HUNG = "All workers have a request, and none does anything."


@dataclass
class Probe:
    """Listens to one model's workers.

    Args:
        slow: a script of the user's, which may wait for something else as long as a request may take.
    """

    server: ModelServer
    slow: bool
    heard: float = field(default_factory=time.monotonic)  # when something was last answered
    _asked: float = 0.0  # when Java last said that it lives
    _misses: int = 0
    _idle: tuple[float, float] | None = None  # since when, and the CPU seconds spent until then

    async def fault(self, name: str, gate: Gate, alive: int) -> str:
        """Why a request would not be answered now; empty where all is well, or nothing is known."""
        now = time.monotonic()
        if now - self.heard < SILENT_SECONDS:
            self._misses, self._idle = 0, None
            return ""
        if now - self._asked > SILENT_SECONDS:
            answers = await self.server.answers()
            self._misses = 0 if answers else self._misses + 1
            self._asked = now if answers else 0.0
        if self._misses >= MISSES:
            return STUCK
        busy = 0 < alive <= gate.inside and not self.slow
        return HUNG if busy and self._are_idle(self.server.cpu_seconds(name), now) else ""

    def _are_idle(self, spent: float, now: float) -> bool:
        if self._idle is None or spent - self._idle[1] > IDLE_CPU or spent < self._idle[1]:
            self._idle = (now, spent)
        return now - self._idle[0] >= IDLE_SECONDS
