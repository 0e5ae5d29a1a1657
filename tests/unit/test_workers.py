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


def run(folder: Path, talk: Talk, size: int = 1, delay: float = 0.0, patience: float = 60.0) -> None:
    async def visit() -> None:
        workers, calling = Workers(size, delay, patience), Calling(folder)
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


async def bodies(line: socket.socket) -> list[bytes]:
    return [part.body for part in await told(line)]


async def say(line: socket.socket, *bodies: bytes) -> None:
    message = b"".join(pack([Part({"content-type": "text/csv"}, body, 201) for body in bodies]))
    for start in range(0, len(message), 7):  # it comes in pieces
        await asyncio.get_running_loop().sock_sendall(line, message[start : start + 7])
        await asyncio.sleep(0)


def asking(workers: Workers, body: bytes, alone: bool = False) -> "asyncio.Task[Part]":
    return asyncio.create_task(workers.ask("m", Part({"a": "b"}, body), alone))


def test_a_message_goes_to_a_worker_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        assert workers.ready("m") == [os.getpid()]
        for large in (b"x", bytes(3 << 20)):
            tasks = [asking(workers, each) for each in (large, b"", b"z")]
            assert [(part.headers, part.body) for part in await told(line)] == [
                ({"a": "b"}, each) for each in (large, b"", b"z")
            ]
            await say(line, b"1", b"", b"3")
            for task, body in zip(tasks, (b"1", b"", b"3"), strict=True):
                assert await task == Part({"content-type": "text/csv"}, body, 201)

    run(tmp_path, talk, size=3, delay=5)


def test_who_waits_is_served_in_turn_and_a_worker_has_one_message_at_a_time(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        tasks = [asking(workers, b"%d" % number) for number in range(4)]  # before anybody called in
        await asyncio.sleep(0)
        tasks[1].cancel()
        lines = [await calling.one() for _ in range(2)]
        for line, number in zip([*lines, lines[1]], (0, 2, 3), strict=True):
            assert await bodies(line) == [b"%d" % number]
            if number:
                await say(line, b"%d" % number)
                assert (await tasks[number]).body == b"%d" % number
        assert not tasks[0].done()
        await say(lines[0], b"0")
        assert (await tasks[0]).body == b"0"
        task = asking(workers, b"again")  # to the one that was at work last
        assert await bodies(lines[0]) == [b"again"]
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
        assert (await task).body == b"fine"

    run(tmp_path, talk)


def test_who_waits_while_all_are_at_work_is_asked_together_but_for_who_wants_to_be_alone(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        first = asking(workers, b"first")
        assert await bodies(line) == [b"first"]  # it waits for nobody: there was a free worker
        waiting = [asking(workers, b"%d" % number, alone=number == 3) for number in range(6)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
        await asyncio.sleep(0)
        await say(line, b"done")
        assert (await first).body == b"done"
        for together in ([1, 2], [3], [4, 5]):
            assert await bodies(line) == [b"%d" % number for number in together]
            await say(line, *(b"answer %d" % number for number in together))
            assert [(await waiting[number]).body for number in together] == [b"answer %d" % each for each in together]

    run(tmp_path, talk, size=2)


def test_a_free_worker_waits_for_a_full_batch_but_not_longer_than_the_delay(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        tasks = [asking(workers, b"1"), asking(workers, b"2")]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(told(line), 0.1)
        assert await bodies(line) == [b"1", b"2"]
        await say(line, b"1", b"2")
        await asyncio.gather(*tasks)
        task = asking(workers, b"3", alone=True)
        assert await asyncio.wait_for(bodies(line), 0.2) == [b"3"]
        await say(line, b"3")
        await task

    run(tmp_path, talk, size=3, delay=0.4)


def test_of_those_whose_worker_ended_each_is_asked_again_alone_and_before_others(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        bad = await calling.one()
        first = asking(workers, b"first")
        await told(bad)
        tasks = [asking(workers, b"%d" % number) for number in range(3)]
        await asyncio.sleep(0.05)
        await say(bad, b"done")
        await first
        assert await bodies(bad) == [b"0", b"1"]
        tasks.append(asking(workers, b"3"))
        bad.close()
        worse = await calling.one()
        assert await bodies(worse) == [b"0"]  # the one to blame, it seems
        worse.close()
        with pytest.raises(Gone):
            await tasks[0]
        good = await calling.one()
        for together in ([1], [2, 3]):
            assert await bodies(good) == [b"%d" % number for number in together]
            await say(good, *(b"%d" % number for number in together))
        assert [(await task).body for task in tasks[1:]] == [b"1", b"2", b"3"]

    run(tmp_path, talk, size=2)


def test_of_those_whose_worker_hung_until_its_end_none_is_asked_again(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        tasks = [asking(workers, b"1"), asking(workers, b"2")]
        assert await bodies(line) == [b"1", b"2"]
        await asyncio.sleep(0.2)
        line.close()
        assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [Gone] * 2

    run(tmp_path, talk, size=2, delay=1, patience=0.1)


def test_the_answer_to_a_request_that_was_given_up_goes_to_nobody(tmp_path: Path) -> None:
    async def talk(workers: Workers, calling: Calling) -> None:
        line = await calling.one()
        task = asking(workers, b"x")
        await told(line)
        task.cancel()
        other = asking(workers, b"y")
        await asyncio.sleep(0.1)
        await say(line, b"1")
        assert await bodies(line) == [b"y"]
        await say(line, b"2")
        assert (await other).body == b"2"
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
            await workers.ask("m", Part({}))
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
        task = asyncio.create_task(workers.ask("other", Part({wire.BODY: "y"})))
        assert (await told(line))[0].headers == {wire.BODY: "y"}
        await say(line, b"z")
        assert (await task).body == b"z"
        waiting.cancel()

    run(tmp_path, talk)
