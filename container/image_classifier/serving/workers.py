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
        question = _Question(asked, asyncio.get_running_loop().create_future())
        self._team(model).put(question)
        return await question.answer

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


@dataclass(frozen=True)
class _Question:
    """Some requests, and the answers to them when they are there."""

    asked: Sequence[Part]
    answer: "asyncio.Future[list[Part]]"

    def succeed(self, parts: list[Part]) -> None:
        if not self.answer.done():  # else nobody waits for it any more
            self.answer.set_result(parts)

    def fail(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(Gone())


@dataclass
class _Team:
    """A model's workers. The one that was at work last is asked first: what it needs is in the caches."""

    workers: list["_Worker"] = field(default_factory=list)
    dismissed: bool = False
    _free: list["_Worker"] = field(default_factory=list)
    _waiting: deque[_Question] = field(default_factory=deque)

    def welcome(self, worker: "_Worker") -> None:
        self.workers.append(worker)
        worker.team = self
        worker.greet()
        self.is_free(worker)

    def put(self, question: _Question) -> None:
        """Ask a free worker, or the next that is."""
        if self.dismissed:
            raise Gone
        while self._free:
            worker = self._free.pop()
            if not worker.has_ended():  # just now
                return worker.ask(question)
        self._waiting.append(question)

    def is_free(self, worker: "_Worker") -> None:
        """Give a worker its next question, before anything is done with the answer to its last: its core is idle."""
        while self._waiting:
            question = self._waiting.popleft()
            if not question.answer.done():
                return worker.ask(question)
        self._free.append(worker)

    def lose(self, worker: "_Worker") -> None:
        self.workers.remove(worker)
        if worker in self._free:
            self._free.remove(worker)

    def dismiss(self) -> None:
        self.dismissed = True
        for worker in list(self.workers):
            worker.hang_up()
        for question in self._waiting:
            question.fail()


class _Worker(asyncio.Protocol):
    """The line to a worker, which answers one message after the other.

    Args:
        called: what to do when it says whose worker it is.
    """

    def __init__(self, called: Callable[["_Worker", str], None]) -> None:
        self.pid = 0
        self.team: _Team | None = None  # none before it has called in
        self.question: _Question | None = None
        self._called = called
        self._came = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def greet(self) -> None:
        """Let it go on, and MMS say that it is loaded, now that it is known here. A byte: a message may follow."""
        self._transport.write(b".")

    def has_ended(self) -> bool:
        return self._transport.is_closing()

    def ask(self, question: _Question) -> None:
        self.question = question
        self._transport.writelines(pack(question.asked))

    def data_received(self, data: bytes) -> None:
        self._came += data
        parts = unpack(self._came)
        if parts is None:
            return
        self._came.clear()
        if self.team is None:
            self.pid = int(parts[0].headers[wire.PID])
            self._called(self, parts[0].headers[wire.MODEL])
        elif question := self.question:
            self.question = None
            self.team.is_free(self)
            question.succeed(parts)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.team:
            self.team.lose(self)
        if self.question:
            self.question.fail()

    def hang_up(self) -> None:
        self._transport.abort()
