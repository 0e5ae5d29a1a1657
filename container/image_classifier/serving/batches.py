"""Requests that a worker answers together: it gets them as one message, and its one answer is taken apart."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from image_classifier.serving.parts import Part

EARLY = 1e-5  # seconds that a timer may be before its time


@dataclass
class Batches:
    """Gathers the requests to each model.

    Args:
        ask: lets a worker of a model answer a batch.
        size: requests of a batch, at most.
        delay: seconds that a request waits for others, unless all workers have enough to do: then it waits anyway.
        slots: batches of a model that are on their way at a time.
    """

    ask: Callable[[str, Sequence[Part]], Awaitable[list[Part]]]
    size: int
    delay: float
    slots: int
    _lines: dict[str, "_Line"] = field(default_factory=dict)

    async def answer(self, model: str, part: Part) -> Part:
        """Let a worker of a model answer a request, with others.

        Raises:
            Gone: as `ask` does, for each request of the batch.
        """
        line = self._lines.setdefault(model, _Line(self, partial(self.ask, model)))
        try:
            return await line.answer(part)
        finally:
            if line.is_idle() and self._lines.get(model) is line:  # its model may be unloaded next
                del self._lines[model]


@dataclass
class _Line:
    """The requests to one model that wait, first come, first served."""

    batches: Batches
    send: Callable[[Sequence[Part]], Awaitable[list[Part]]]
    _waiting: list[tuple[float, Part, "asyncio.Future[Part]"]] = field(default_factory=list)
    _at_work: set["asyncio.Task[None]"] = field(default_factory=set)

    def is_idle(self) -> bool:
        return not self._waiting and all(task.done() for task in self._at_work)

    async def answer(self, part: Part) -> Part:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Part] = loop.create_future()
        self._waiting.append((loop.time() + self.batches.delay, part, future))
        loop.call_later(self.batches.delay, self._go_on)
        self._go_on()
        return await future

    def _go_on(self) -> None:
        """Send what is full or due, as long as a worker can take it."""
        size, now = self.batches.size, asyncio.get_running_loop().time() + EARLY
        while self._waiting and len(self._at_work) < self.batches.slots:
            if len(self._waiting) < size and self._waiting[0][0] > now:
                return
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            self._begin([part for _, part, _ in batch], [future for *_, future in batch])

    def _begin(self, parts: list[Part], futures: list["asyncio.Future[Part]"]) -> None:
        task = asyncio.create_task(self._ask(parts, futures))
        self._at_work.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._at_work.discard(task)
        self._go_on()

    async def _ask(self, parts: list[Part], futures: list["asyncio.Future[Part]"]) -> None:
        try:
            answers = await self.send(parts)
            for future, answer in zip(futures, answers, strict=True):
                if not future.done():  # nobody waits for it any more
                    future.set_result(answer)
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
