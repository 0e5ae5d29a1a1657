"""The workers of all models, as the front door speaks to them: each calls in when it has loaded its model.

MMS starts them, and others in the place of those that die. Requests do not pass through its Java part (1.1.11): that
costs a picture a tenth more CPU, and Java ends a worker whose answer comes in pieces that end within a header, as the
answers to a batch do. And here the kernel tells at once when a worker has gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from image_classifier.serving import wire
from image_classifier.serving.parts import Part, pack, unpack

EARLY = 1e-5  # seconds that a timer may be before its time


class Gone(Exception):
    """A worker has ended with a request in hand, or is not coming."""


class Workers:
    """Those that have called in, by the name that their model has in MMS.

    Args:
        size: requests that a worker is asked at a time, at most.
        delay: seconds that a request waits for others while a worker is free.
        patience: seconds after which nobody waits for an answer any more.
    """

    def __init__(self, size: int = 1, delay: float = 0.0, patience: float = float("inf")) -> None:
        self._size, self._delay, self._patience = size, delay, patience
        self._teams: dict[str, _Team] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, folder: Path) -> None:
        """Wait for calls, on a socket in the private folder."""
        here = str(folder / wire.LINE)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Worker(self._called), here)

    def expect(self, model: str) -> None:
        """Let a model's workers call in."""
        self._teams[model] = _Team(self._size)

    def dismiss(self, model: str) -> None:
        """Give up a model's workers, and the requests that they have or that wait for them."""
        if team := self._teams.pop(model, None):
            team.dismiss()

    def ready(self, model: str) -> list[int]:
        """Process ids of the workers that can take a request, now or next."""
        team = self._teams.get(model)
        return [worker.pid for worker in team.workers] if team else []

    async def ask(self, model: str, asked: Part, alone: bool = False) -> Part:
        """Let the next free worker of a model answer a request, with others that wait.

        Args:
            model: its name in MMS.
            asked: the request.
            alone: others should not have to wait for it.

        Raises:
            Gone: the worker ended before it did.
        """
        loop, team = asyncio.get_running_loop(), self._teams.get(model)
        if team is None:
            raise Gone
        now, delay = loop.time(), 0 if alone else self._delay
        question = _Question(asked, alone, now + delay, now + self._patience, loop.create_future())
        team.put(question)
        if delay:
            loop.call_later(delay, team.go_on)
        return await question.answer

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
    """A request, and the answer to it when it is there.

    Args:
        due: when it waits no longer for others, in the event loop's time.
        end: when nobody waits for it any more.
    """

    asked: Part
    alone: bool
    due: float
    end: float
    answer: "asyncio.Future[Part]"

    def succeed(self, answer: Part) -> None:
        if not self.answer.done():  # else nobody waits for it any more
            self.answer.set_result(answer)

    def fail(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(Gone())


@dataclass
class _Team:
    """A model's workers. The one that was at work last is asked first: what it needs is in the caches."""

    size: int
    workers: list["_Worker"] = field(default_factory=list)
    _free: list["_Worker"] = field(default_factory=list)
    _waiting: deque[_Question] = field(default_factory=deque)

    def welcome(self, worker: "_Worker") -> None:
        self.workers.append(worker)
        worker.team = self
        worker.greet()
        self.is_free(worker)

    def put(self, question: _Question) -> None:
        self._waiting.append(question)
        self.go_on()

    def is_free(self, worker: "_Worker") -> None:
        self._free.append(worker)
        self.go_on()

    def go_on(self) -> None:
        """Ask who is free what is full or due."""
        while self._waiting and self._free:
            if self._waiting[0].answer.done():  # given up
                self._waiting.popleft()
            elif not self._is_due():
                return
            elif not (worker := self._free.pop()).has_ended():  # just now
                worker.ask(self._next())

    def _is_due(self) -> bool:
        early = asyncio.get_running_loop().time() + EARLY
        return len(self._waiting) >= self.size or self._waiting[0].due <= early

    def _next(self) -> list[_Question]:
        """Those to be answered together, first come, first served."""
        questions = [self._waiting.popleft()]
        while self._waiting and len(questions) < self.size and not (questions[0].alone or self._waiting[0].alone):
            questions.append(self._waiting.popleft())
        return questions

    def lose(self, worker: "_Worker") -> None:
        """A question that was asked alone has failed; of several, only one may be to blame: each is asked alone."""
        self.workers.remove(worker)
        if worker in self._free:
            self._free.remove(worker)
        now = asyncio.get_running_loop().time()
        for question in reversed(worker.questions):
            if len(worker.questions) > 1 and now < question.end:
                self._waiting.appendleft(replace(question, alone=True, due=now))
            else:
                question.fail()
        self.go_on()

    def dismiss(self) -> None:
        for question in [*self._waiting, *(question for worker in self.workers for question in worker.questions)]:
            question.fail()
        for worker in list(self.workers):
            worker.hang_up()


class _Worker(asyncio.Protocol):
    """The line to a worker, which answers one message after the other.

    Args:
        called: what to do when it says whose worker it is.
    """

    def __init__(self, called: Callable[["_Worker", str], None]) -> None:
        self.pid = 0
        self.team: _Team | None = None  # none before it has called in
        self.questions: Sequence[_Question] = ()
        self._called = called
        self._came = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def greet(self) -> None:
        """Let it go on, and MMS say that it is loaded, now that it is known here. A byte: a message may follow."""
        self._transport.write(b".")

    def has_ended(self) -> bool:
        return self._transport.is_closing()

    def ask(self, questions: Sequence[_Question]) -> None:
        self.questions = questions
        self._transport.writelines(pack([question.asked for question in questions]))

    def data_received(self, data: bytes) -> None:
        self._came += data
        parts = unpack(self._came)
        if parts is None:
            return
        self._came.clear()
        if self.team is None:
            self.pid = int(parts[0].headers[wire.PID])
            self._called(self, parts[0].headers[wire.MODEL])
        else:
            answered, self.questions = self.questions, ()
            self.team.is_free(self)  # first of all: until it is asked again, its core has nothing to do
            for question, answer in zip(answered, parts, strict=True):
                question.succeed(answer)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.team:
            self.team.lose(self)

    def hang_up(self) -> None:
        self._transport.abort()
