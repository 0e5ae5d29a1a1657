"""The workers of all models, as the front door speaks to them: each calls in when it has loaded its model.

MMS starts them, and others in the place of those that die. Requests do not pass through its Java part (1.1.11): that
costs a picture a tenth more CPU, and Java ends a worker whose answer comes in pieces that end within a header, as the
answers to a batch do. And here the kernel tells at once when a worker has gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from image_classifier.serving import wire
from image_classifier.serving.parts import Part, pack, unpack


class Gone(Exception):
    """A worker has ended with a request in hand, or is not coming."""


class Workers:
    """Those that have called in, by the name that their model has in MMS."""

    def __init__(self) -> None:
        self._teams: dict[str, _Team] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, folder: Path) -> None:
        """Wait for calls, on a socket in the private folder."""
        here = str(folder / wire.LINE)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Worker(self._called), here)

    def expect(self, model: str) -> None:
        """Let a model's workers call in."""
        self._teams[model] = _Team()

    def dismiss(self, model: str) -> None:
        """Give up a model's workers, and the requests that they have or that wait for them."""
        if team := self._teams.pop(model, None):
            team.dismiss()

    def ready(self, model: str) -> list[int]:
        """Process ids of the workers that can take a request, now or next."""
        return [worker.pid for worker in self._team(model).workers]

    async def ask(self, model: str, asked: Sequence[Part]) -> list[Part]:
        """Let the next free worker of a model answer some requests together.

        Raises:
            Gone: it ended before it did.
        """
        team = self._team(model)
        while (worker := await team.free_worker()).has_ended():
            pass  # just now
        try:
            return await worker.ask(asked)
        finally:
            team.give_back(worker)

    def _team(self, model: str) -> "_Team":
        return self._teams.get(model) or _Team(dismissed=True)

    def _called(self, worker: "_Worker", model: str) -> None:
        if team := self._teams.get(model):
            team.welcome(worker)
        else:  # it was unloaded while it loaded
            worker.hang_up()

    async def close(self) -> None:
        """Give up all workers."""
        for model in list(self._teams):
            self.dismiss(model)
        if self._server:
            self._server.close()


@dataclass
class _Team:
    """A model's workers. The one that was at work last is asked first: what it needs is in the caches."""

    workers: list["_Worker"] = field(default_factory=list)
    dismissed: bool = False
    _free: list["_Worker"] = field(default_factory=list)
    _waiting: deque["asyncio.Future[_Worker]"] = field(default_factory=deque)

    def welcome(self, worker: "_Worker") -> None:
        self.workers.append(worker)
        worker.on_end = self._lose
        worker.greet()
        self.give_back(worker)

    async def free_worker(self) -> "_Worker":
        if self.dismissed:
            raise Gone
        if self._free:
            return self._free.pop()
        turn: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():  # it was given one meanwhile
                self.give_back(turn.result())
            raise

    def give_back(self, worker: "_Worker") -> None:
        if worker.has_ended():
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn.set_result(worker)
        self._free.append(worker)

    def _lose(self, worker: "_Worker") -> None:
        self.workers.remove(worker)
        if worker in self._free:
            self._free.remove(worker)

    def dismiss(self) -> None:
        self.dismissed = True
        for worker in list(self.workers):
            worker.hang_up()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(Gone())


class _Worker(asyncio.Protocol):
    """The line to a worker, which answers one message after the other.

    Args:
        called: what to do when it says whose worker it is.
    """

    def __init__(self, called: Callable[["_Worker", str], None]) -> None:
        self.pid = 0
        self.on_end: Callable[[_Worker], None] = lambda _worker: None
        self._called = called
        self._came = bytearray()
        self._answer: asyncio.Future[list[Part]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def greet(self) -> None:
        """Let it go on, and MMS say that it is loaded, now that it is known here. A byte: a message may follow."""
        self._transport.write(b".")

    def has_ended(self) -> bool:
        return self._transport.is_closing()

    async def ask(self, asked: Sequence[Part]) -> list[Part]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(pack(asked))
        try:
            return await self._answer
        except asyncio.CancelledError:  # what it answers would be taken for the answer to what is asked next
            self.hang_up()
            raise

    def data_received(self, data: bytes) -> None:
        self._came += data
        parts = unpack(self._came)
        if parts is None:
            return
        self._came.clear()
        if self._answer is None:
            self.pid = int(parts[0].headers[wire.PID])
            self._called(self, parts[0].headers[wire.MODEL])
        elif not self._answer.done():
            self._answer.set_result(parts)

    def connection_lost(self, _error: Exception | None) -> None:
        self.on_end(self)
        if self._answer and not self._answer.done():
            self._answer.set_exception(Gone())

    def hang_up(self) -> None:
        self._transport.abort()
