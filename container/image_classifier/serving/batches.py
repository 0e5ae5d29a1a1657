"""Requests that a worker answers together: they go to MMS as one request, and its one answer is taken apart.

MMS has batches of its own, and they cannot be used: its Java part (1.1.11) decodes an answer as the pieces of it come,
and ends the worker when a piece ends within headers or a status. The answer to one request has these in its first
piece, a batch has them all along: whole batches were lost, and their workers (tests/unit/test_batching.py saw it).
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import aiohttp
from multidict import CIMultiDict

from image_classifier.serving.parts import Part, pack, unpack
from image_classifier.serving.wire import TOGETHER

EARLY = 1e-5  # seconds that a timer may be before its time


@dataclass
class Batches:
    """Stands before a session of aiohttp: what is posted to one path goes on in batches.

    Args:
        session: to MMS.
        size: requests of a batch, at most.
        delay: seconds that a request waits for others, unless all workers have enough to do: then it waits anyway.
        slots: batches of a path that MMS has at a time.
    """

    session: aiohttp.ClientSession
    size: int
    delay: float
    slots: int
    _lines: dict[str, "_Line"] = field(default_factory=dict)

    @asynccontextmanager
    async def post(
        self, path: str, *, data: bytes, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """As ClientSession.post."""
        line = self._lines.setdefault(path, _Line(self, partial(self._send, path, timeout)))
        try:
            answer = await line.answer(Part(headers, data))
        finally:
            if line.is_idle() and self._lines.get(path) is line:  # its model may be unloaded next
                del self._lines[path]
        yield cast(aiohttp.ClientResponse, answer)  # of which it has what the front door asks for

    async def _send(self, path: str, timeout: aiohttp.ClientTimeout, parts: Sequence[Part]) -> list[Part]:
        headers = {"Content-Type": "application/octet-stream", TOGETHER: "yes"}
        data = io.BytesIO(pack(parts))  # goes out piece by piece
        async with self.session.post(path, data=data, headers=headers, timeout=timeout) as response:
            content = await response.read()
            if TOGETHER in response.headers:
                return [replace(part, headers=CIMultiDict(part.headers)) for part in unpack(content)]
            return [Part(response.headers, content, response.status)] * len(parts)  # an error of MMS's own, for all

    async def close(self) -> None:
        """Close the session."""
        await self.session.close()


@dataclass
class _Line:
    """The requests to one path that wait, first come, first served."""

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
