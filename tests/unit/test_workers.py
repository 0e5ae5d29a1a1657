"""The workers that call in: who is asked, and what becomes of a request whose worker ends. On real sockets."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from image_classifier.serving import wire, worker
from image_classifier.serving.parts import Part, pack, unpack
from image_classifier.serving.workers import Gone, Workers

Talk = Callable[[Workers, "Calling"], Awaitable[None]]


@dataclass
class Calling:
    """Workers that call in as real ones do; what they answer is the test's."""

    folder: Path
    lines: list[socket.socket] = field(default_factory=list)

    async def one(self, model: str = "m") -> socket.socket:
        line = await asyncio.to_thread(worker.call_in, self.folder, model)
        line.setblocking(False)
        self.lines.append(line)
        return line


def run(folder: Path, talk: Talk) -> None:
    async def visit() -> None:
        workers, calling = Workers(), Calling(folder)
        await workers.listen(folder)
        workers.expect("m")
        try:
            async with asyncio.timeout(10):
                await talk(workers, calling)
        finally:
            await workers.close()
            for line in calling.lines:
                line.close()

    asyncio.run(visit())


async def told(line: socket.socket) -> list[Part]:
    """What a worker is asked next."""
    data = bytearray()
    while (parts := unpack(data)) is None:
        piece = await asyncio.get_running_loop().sock_recv(line, 1 << 16)
        assert piece, "the line was closed"
        data += piece
    return parts


async def say(line: socket.socket, *bodies: bytes) -> None:
    message = b"".join(pack([Part({"content-type": "text/csv"}, body, 201) for body in bodies]))
    for start in range(0, len(message), 7):  # it comes in pieces
        await asyncio.get_running_loop().sock_sendall(line, message[start : start + 7])
        await asyncio.sleep(0)


def asking(workers: Workers, *bodies: bytes) -> "asyncio.Task[list[Part]]":
    return asyncio.create_task(workers.ask("m", [Part({"a": "b"}, body) for body in bodies]))


def test_a_message_goes_to_a_worker_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        assert workers.ready("m") == [os.getpid()]
        for large in (b"x", bytes(3 << 20)):
            task = asking(workers, large, b"", b"z")
            assert [(part.headers, part.body) for part in await told(line)] == [
                ({"a": "b"}, each) for each in (large, b"", b"z")
            ]
            await say(line, b"1", b"", b"3")
            assert await task == [Part({"content-type": "text/csv"}, body, 201) for body in (b"1", b"", b"3")]

    run(tmp_path, talk)


def test_who_waits_is_served_in_turn_and_a_worker_has_one_message_at_a_time(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        tasks = [asking(workers, b"%d" % number) for number in range(4)]  # before anybody called in
        await asyncio.sleep(0)
        tasks[1].cancel()
        lines = [await calling.one() for _ in range(2)]
        for line, number in zip([*lines, lines[1]], (0, 2, 3), strict=True):
            assert [part.body for part in await told(line)] == [b"%d" % number]
            if number:
                await say(line, b"%d" % number)
                assert [part.body for part in await tasks[number]] == [b"%d" % number]
        assert not tasks[0].done()
        await say(lines[0], b"0")
        assert [part.body for part in await tasks[0]] == [b"0"]
        task = asking(workers, b"again")  # to the one that was at work last
        assert [part.body for part in await told(lines[0])] == [b"again"]
        await say(lines[0], b"done")
        await task

    run(tmp_path, talk)


def test_a_worker_that_ends_takes_one_request_with_it_and_none_after_it(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        good, bad = await calling.one(), await calling.one()
        task = asking(workers, b"x")
        await told(bad)
        bad.close()
        with pytest.raises(Gone):
            await task
        assert len(workers.ready("m")) == 1
        idle = await calling.one()
        idle.close()
        while len(workers.ready("m")) > 1:
            await asyncio.sleep(0.01)
        task = asking(workers, b"y")
        await told(good)
        await say(good, b"fine")
        assert (await task)[0].body == b"fine"

    run(tmp_path, talk)


def test_the_answer_to_a_request_that_was_given_up_goes_to_nobody(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        task = asking(workers, b"x")
        await told(line)
        task.cancel()
        other = asking(workers, b"y")
        await asyncio.sleep(0.1)
        await say(line, b"1")
        assert [part.body for part in await told(line)] == [b"y"]
        await say(line, b"2")
        assert [part.body for part in await other] == [b"2"]
        assert task.cancelled()

    run(tmp_path, talk)


def test_with_its_model_a_worker_is_dismissed_and_so_is_who_waits_for_it(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        tasks = [asking(workers, b"x") for _ in range(3)]
        await told(line)
        workers.dismiss("m")
        assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [Gone] * 3
        with pytest.raises(Gone):
            await workers.ask("m", [Part({})])
        with pytest.raises(SystemExit):  # one that loaded meanwhile
            await calling.one()
        assert workers.ready("m") == []

    run(tmp_path, talk)


def test_a_worker_that_is_asked_for_another_model_is_not_asked(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        workers.expect("other")
        line = await calling.one("other")
        waiting = asking(workers, b"x")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        task = asyncio.create_task(workers.ask("other", [Part({wire.BODY: "y"})]))
        assert (await told(line))[0].headers == {wire.BODY: "y"}
        await say(line, b"z")
        assert (await task)[0].body == b"z"
        waiting.cancel()

    run(tmp_path, talk)
