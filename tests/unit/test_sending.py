"""Answers on their way to callers that take them slowly, not at all, or after they have closed their side."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from house import House, Run, lay
from image_classifier.serving import sending, spool

MIB = 1 << 20
LARGE = bytes(range(256)) * (12 * MIB // 256)
MIDDLE = LARGE[:MIB]  # comes in no file
REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\r\nabc"


@asynccontextmanager
async def asking(house: House, answer: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A caller with little room that has asked for an answer, and has read nothing of it."""
    large = len(answer) > MIB
    house.worker.body = answer
    if large:
        lay(house, answer)
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    caller.setblocking(False)
    await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", house.port))
    reader, writer = await asyncio.open_connection(sock=caller, limit=1 << 14)
    writer.write(REQUEST)
    await house.worker.started.wait()
    await asyncio.sleep(0.3)
    try:
        yield reader, writer
    finally:
        writer.close()


def held() -> list[str]:
    """Files of bodies that this process has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(link))
    return [link for link in links if f"/{spool.PREFIX}" in link]


async def quiet(house: House) -> None:
    while house.door.in_flight or held():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [MIDDLE, LARGE])
def test_a_request_is_in_flight_until_its_caller_has_the_answer(run: Run, answer: bytes) -> None:
    async def talk(house: House) -> None:
        async with asking(house, answer) as (reader, _):
            assert house.door.in_flight == 1
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(answer)) == answer
            await asyncio.wait_for(quiet(house), 1)

    run(talk)


@pytest.mark.parametrize("answer", [MIDDLE, LARGE])
def test_a_caller_that_takes_nothing_is_hung_up_on_and_leaves_nothing(
    run: Run, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "IDLE_SECONDS", 0.4)

    async def talk(house: House) -> None:
        async with asking(house, answer) as (reader, _):
            assert house.door.in_flight == 1
            await asyncio.wait_for(quiet(house), 5)
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)

    run(talk)


def test_a_caller_that_takes_a_little_now_and_then_gets_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "IDLE_SECONDS", 0.3)

    async def talk(house: House) -> None:
        async with asking(house, LARGE) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            got = bytearray()
            start = asyncio.get_running_loop().time()
            while len(got) < len(LARGE):
                got += await reader.read(1 << 17)
                await asyncio.sleep(0.01)
            assert got == LARGE
            assert asyncio.get_running_loop().time() - start > 2 * sending.IDLE_SECONDS

    run(talk)


def test_a_caller_that_closes_its_side_amid_the_answer_gets_it_as_it_is(run: Run) -> None:
    async def talk(house: House) -> None:
        async with asking(house, LARGE) as (reader, writer):
            writer.write_eof()
            await asyncio.sleep(0.1)
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.read(-1) == LARGE

    run(talk)


@pytest.mark.parametrize("last", [b"HEAD /ping", b"GET /nothing", b"DELETE /ping"])
def test_each_answer_is_sent_once(run: Run, last: bytes) -> None:
    async def talk(house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        for head in (b"HEAD /ping", b"GET /ping", b"GET /nothing"):
            writer.write(head + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write(last + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        told = await asyncio.wait_for(reader.read(-1), 5)
        assert [told.count(f"HTTP/1.1 {status}".encode()) for status in (200, 404, 405)] == [
            2 + last.startswith(b"HEAD"),
            1 + last.startswith(b"GET"),
            int(last.startswith(b"DELETE")),
        ]
        assert told.count(b"X-Request-Id") == 4
        writer.close()

    run(talk)
