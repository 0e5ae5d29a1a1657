"""Bodies and answers beyond 1 MiB: each in a file of the server's private folder, and none stays there."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

from calls import context
from house import JPEG, House, Run, lay
from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import handler, intake, spool, wire
from image_classifier.serving.service import Answer, Request, checked

MIB = 1 << 20
LARGE = bytes(range(256)) * (12 * MIB // 256)
NAMES = ["../mms.properties", "/etc/passwd", "mms.properties", "body-x/../../y", ".", "", f"./{spool.PREFIX}x"]


def laid(house: House) -> list[Path]:
    return list(house.worker.folder.glob(f"{spool.PREFIX}*"))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


async def trickle(size: int, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield LARGE[:size]
    await go_on.wait()
    yield b"end"


async def ask(house: House, body: bytes | AsyncIterator[bytes]) -> aiohttp.ClientResponse:
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    return await house.client.post("/invocations", data=data, headers=JPEG)


def test_a_large_body_reaches_the_worker_in_a_file_that_is_gone_then(run: Run) -> None:
    async def talk(house: House) -> None:
        whole = house.door.files.free
        assert (await ask(house, LARGE)).status == 200
        ((told, got),) = house.worker.seen
        assert got == LARGE
        assert told[wire.BODY].startswith(spool.PREFIX)
        assert laid(house) == []
        assert house.door.files.free == whole

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="100")


@pytest.mark.parametrize("header", [wire.BODY, wire.ANSWER_FILE])
def test_a_caller_cannot_name_a_file(run: Run, header: str) -> None:
    async def talk(house: House) -> None:
        secret = house.worker.folder / f"{spool.PREFIX}secret"
        secret.write_bytes(b"of another caller")
        await house.client.post("/invocations", data=b"x", headers={**JPEG, header: secret.name})
        assert secret.name not in house.worker.seen[0][0].values()
        assert secret.exists()

    run(talk)


def test_bodies_that_come_slowly_hold_no_slot_and_little_memory(run: Run) -> None:
    async def talk(house: House) -> None:
        go_on, whole = asyncio.Event(), house.door.bodies.free
        slow = [asyncio.ensure_future(ask(house, trickle(3 * MIB, go_on))) for _ in range(6)]
        while sum(path.stat().st_size for path in laid(house)) < 6 * MIB:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert house.worker.seen == []
        assert (await asyncio.wait_for(ask(house, LARGE[: 2 * MIB]), 5)).status == 200
        assert whole - house.door.bodies.free < 6 * 2 * MIB
        go_on.set()
        assert [(await one).status for one in slow] == [200] * 6
        assert (laid(house), house.door.bodies.free) == ([], whole)

    run(talk)


def test_nothing_is_left_of_a_body_whose_caller_goes_or_goes_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(house: House) -> None:
        whole = house.door.files.free
        going = asyncio.ensure_future(ask(house, trickle(3 * MIB, asyncio.Event())))
        while not laid(house):
            await asyncio.sleep(0.02)
        going.cancel()
        while laid(house):
            await asyncio.sleep(0.02)
        monkeypatch.setattr(intake, "IDLE_SECONDS", 0.2)
        await house.error(await ask(house, trickle(3 * MIB, asyncio.Event())), 408, "slow_body")
        assert (laid(house), house.door.files.free) == ([], whole)

    run(talk)


def test_nothing_is_left_of_a_body_beyond_the_limit_or_the_deadline(run: Run) -> None:
    async def talk(house: House) -> None:
        async def stream() -> AsyncIterator[bytes]:
            for start in range(0, len(LARGE), MIB // 4):
                yield LARGE[start : start + MIB // 4]

        await house.error(await ask(house, stream()), 413, "too_large")
        assert laid(house) == []
        house.worker.delay = 3
        await house.error(await ask(house, LARGE[: 2 * MIB]), 504, "timeout")
        assert laid(house) == []

    run(talk, SAGEMAKER_MODEL_SERVER_TIMEOUT="1")


def test_a_full_disk_is_503_with_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(house: House) -> None:
        full = house.worker.folder / "full"
        full.symlink_to("/dev/full")  # the kernel's own full disk
        monkeypatch.setattr(spool, "create", lambda _folder: full.open("wb"))
        assert "disk has no room" in await house.error(await ask(house, LARGE[: 3 * MIB]), 503, "disk_full")
        assert not full.is_symlink()
        assert (await ask(house, b"small")).status == 200

    run(talk)


def test_large_bodies_together_take_no_more_room_than_is_set_aside(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.files.free = 5 * MIB
        go_on = asyncio.Event()
        first = asyncio.ensure_future(ask(house, trickle(3 * MIB, go_on)))
        while house.door.files.free > 3 * MIB:
            await asyncio.sleep(0.02)
        assert "room for them" in await house.error(await ask(house, LARGE[: 4 * MIB]), 503, "busy")
        go_on.set()
        assert (await first).status == 200
        assert house.door.files.free == 5 * MIB

    run(talk)


def test_a_large_answer_comes_from_its_file(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.headers = {"content-type": "text/csv", "X-Amzn-SageMaker-Custom-Attributes": "trace=7"}
        lay(house, LARGE)
        answer = await ask(house, b"x")
        assert (answer.status, answer.content_type) == (200, "text/csv")
        assert answer.content_length == len(LARGE)
        assert "Content-Disposition" not in answer.headers
        assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=7"
        assert await answer.read() == LARGE
        assert laid(house) == []

    run(talk)


def test_large_answers_take_of_the_room_for_large_bodies_until_they_are_sent(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.files.free = len(LARGE) + MIB
        lay(house, LARGE)
        first = await ask(house, b"x")
        assert house.door.files.free == MIB
        assert "room for them" in await house.error(await ask(house, LARGE[: 2 * MIB]), 503, "busy")
        lay(house, LARGE)
        assert "room for them" in await house.error(await ask(house, b"x"), 503, "busy")
        assert await first.read() == LARGE
        await asyncio.wait_for(until(lambda: house.door.files.free == len(LARGE) + MIB), 5)
        assert laid(house) == []

    run(talk)


def test_a_body_has_left_its_room_when_its_answer_comes(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.files.free = len(LARGE)
        lay(house, LARGE)
        assert await (await ask(house, LARGE)).read() == LARGE

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="100")


@pytest.mark.parametrize("how", ["its worker died", "it was given up"])
def test_nothing_is_left_of_an_answer_that_nobody_passed_on(run: Run, how: str) -> None:
    async def talk(house: House) -> None:
        house.worker.ends, house.worker.delay = True, 0.5
        asking = asyncio.ensure_future(ask(house, b"x"))
        await house.worker.started.wait()
        await until(lambda: bool(house.worker.seen))
        spool.put(house.worker.folder, house.worker.seen[0][0][wire.ANSWER_FILE], LARGE)
        if how == "it was given up":
            house.door.server.workers.dismiss("model")
        await house.error(await asking, 503, "unavailable")
        assert laid(house) == []

    run(talk)


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_opens_nothing_but_a_body_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a body"):
        spool.take(tmp_path, name)
    with pytest.raises(ValueError, match="not the name of a body"):
        spool.put(tmp_path, name, b"")


def test_a_worker_reads_a_body_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.FOLDER_ENV, str(tmp_path))
    name = f"{spool.PREFIX}x"
    spool.put(tmp_path, name, LARGE)
    request = Request(b"", context(tmp_path, {wire.BODY: name}), 0)
    assert request.body() == LARGE
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match="ended already"):
        request.body()


def test_a_worker_lays_a_large_answer_into_a_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.FOLDER_ENV, str(tmp_path))
    name = f"{spool.ANSWER}1"
    made = context(model, {}, {wire.ANSWER_FILE: name})
    results = [Answer(b"small", "text/csv"), Answer(LARGE, "text/csv")]
    monkeypatch.setattr(handler, "_service", SimpleNamespace(answer=lambda _calls: results))
    small, large = handler.handle([{}, {}], made) or []
    assert [made.get_response_headers(index).get(wire.ANSWER_FILE) for index in range(2)] == [None, name]
    assert (small, large) == (b"small", b"")
    assert (tmp_path / name).read_bytes() == LARGE


def test_an_answer_that_finds_no_room_is_503(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / f"{spool.ANSWER}1"
    full.symlink_to("/dev/full")
    monkeypatch.setenv(wire.FOLDER_ENV, str(tmp_path))
    made = context(model, {wire.ANSWER_FILE: full.name})
    body = handler._reply(Request(b"", made, 0), Answer(LARGE, "text/csv"))
    assert (made.get_response_status(0)[0], json.loads(body)["code"]) == (503, "disk_full")
    assert made.get_response_content_type(0) == "application/json"
    assert list(tmp_path.iterdir()) == []


def test_no_answer_is_larger_than_a_body_may_be() -> None:
    settings = Settings.from_environment({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "12"})
    assert checked(Answer(LARGE), settings) == Answer(LARGE)
    refused = checked(Answer(LARGE + b"x"), settings)
    assert isinstance(refused, RequestError)
    assert refused.status == 413
