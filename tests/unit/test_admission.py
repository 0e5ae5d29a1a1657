"""Under pressure: full queues, deadlines, slow callers, broken HTTP, and the end."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest

from house import JPEG, House, Run
from image_classifier.serving import intake, wire
from image_classifier.serving.front_door import State

MIB = 1 << 20


async def ask(house: House, body: bytes = b"x") -> aiohttp.ClientResponse:
    return await house.client.post("/invocations", data=body, headers=JPEG)


def test_more_requests_than_may_wait_are_503_at_once_and_the_others_are_answered(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.3
        answers = await asyncio.gather(*(ask(house) for _ in range(10)))
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [200] * 7 + [503] * 3  # four at work (two workers), three waiting
        for answer in answers:
            if answer.status == 503:
                assert "waiting already" in await house.error(answer, 503, "busy")
        assert (await ask(house)).status == 200
        assert house.door.in_flight == 0

    run(talk, MMS_JOB_QUEUE_SIZE="3")


def test_only_a_request_with_no_other_at_work_is_told_to_be_alone(run: Run) -> None:
    async def talk(house: House) -> None:
        await ask(house)
        house.worker.delay = 0.3
        await asyncio.gather(ask(house), ask(house))
        await ask(house)
        assert [wire.ALONE in headers for headers, _ in house.worker.seen] == [True, True, False, True]

    run(talk)


ONE = {"instances": [{"b64": "eA=="}]}
SEVERAL = {"instances": [{"b64": "eA=="}] * 2}


@pytest.mark.parametrize(
    ("media_type", "body", "own_formats", "together"),
    [
        ("image/jpeg", b"x", True, 2),
        ("image/jpeg", b"x" * (2 * MIB), True, 1),  # lies in a file
        ("application/json", json.dumps(ONE).encode(), True, 2),
        ("application/json", json.dumps(SEVERAL).encode(), True, 1),
        ("image/jpeg", b"x", False, 1),  # a script may take as long as it likes
    ],
)
def test_who_takes_long_is_answered_with_no_others(
    run: Run, media_type: str, body: bytes, own_formats: bool, together: int
) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.2
        send = partial(house.client.post, "/invocations", headers={"Content-Type": media_type})
        asked = (send(data=io.BytesIO(body)) for _ in range(24))  # for 8 workers
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert max(house.worker.together) == together

    run(talk, own_formats=own_formats, MMS_BATCH_SIZE="2", SAGEMAKER_MODEL_SERVER_WORKERS="12")


def test_time_spent_waiting_counts_towards_the_deadline(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.7
        answers = await asyncio.gather(*(ask(house) for _ in range(12)))
        statuses = [answer.status for answer in answers]
        assert statuses.count(504) >= 4
        assert set(statuses) == {200, 504}
        assert len(house.worker.seen) < 12  # who waited too long never reaches a worker

    run(talk, SAGEMAKER_MODEL_SERVER_TIMEOUT="1")


def test_a_caller_that_stops_sending_is_408_and_holds_no_slot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "IDLE_SECONDS", 0.2)

    async def stall(size: int) -> AsyncIterator[bytes]:
        yield bytes(size)
        await asyncio.sleep(1)
        yield b"too late"

    async def talk(house: House) -> None:
        for size in (10, 2 * MIB):
            answer = await house.client.post("/invocations", data=stall(size), headers=JPEG)
            await house.error(answer, 408, "slow_body")
        assert (await ask(house)).status == 200

    run(talk)


def test_bodies_that_are_still_coming_take_no_more_memory_than_is_set_aside(run: Run) -> None:
    async def talk(house: House) -> None:
        go_on, whole = asyncio.Event(), house.door.bodies.free
        assert whole == 7 * MIB * 5 // 4  # four at work, three waiting

        async def stall() -> AsyncIterator[bytes]:
            yield bytes(900_000)
            await go_on.wait()

        asked = [
            asyncio.ensure_future(house.client.post("/invocations", data=stall(), headers=JPEG)) for _ in range(30)
        ]
        refused, held = await asyncio.wait(asked, timeout=2)
        assert len(refused) >= 20
        for each in refused:
            assert "room for them" in await house.error(await each, 503, "busy")
        assert house.door.bodies.free == whole - 900_000 * len(held)
        go_on.set()
        answered = await asyncio.gather(*held)
        assert 200 in {answer.status for answer in answered} <= {200, 503}
        assert house.door.bodies.free == whole
        assert (await ask(house)).status == 200

    run(talk, MMS_JOB_QUEUE_SIZE="3")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"MAKE COFFEE PLEASE\r\n\r\n",
        b"GET /ping HTTP/9.9\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400_in_json(run: Run, sent: bytes) -> None:
    async def talk(house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
        assert head.split()[1] == b"400", head
        assert b"application/json" in head
        assert json.loads(body).keys() == {"code", "message", "request_id"}
        assert (await ask(house)).status == 200

    run(talk)


REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_caller_that_has_sent_all_and_still_listens_is_answered(run: Run, pause: float) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.3
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(REQUEST)
        await asyncio.sleep(pause)
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), 5)  # to the end: the connection is closed after it
        writer.close()
        for _ in range(2):  # callers skip these
            told = told.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert told.endswith(house.worker.body)

    run(talk)


@pytest.mark.parametrize("sent", [b"", REQUEST[:20], REQUEST[:-1]])
def test_a_caller_that_ends_amid_a_request_is_let_go(run: Run, sent: bytes) -> None:
    async def talk(house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(sent)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()
        assert house.worker.seen == []

    run(talk)


def test_nothing_is_predicted_for_a_caller_that_has_gone(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 0.5
        first = [asyncio.ensure_future(ask(house)) for _ in range(4)]  # as many as are at work: who comes then waits
        await asyncio.sleep(0.2)
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(REQUEST)
            await asyncio.sleep(0.02)
            writer.close()
        last = asyncio.ensure_future(ask(house))
        assert {answer.status for answer in await asyncio.gather(*first, last)} == {200}
        assert len(house.worker.seen) == 5
        assert house.door.in_flight == 0

    run(talk)


def test_custom_attributes_beyond_what_sagemaker_passes_on_are_refused(run: Run) -> None:
    async def talk(house: House) -> None:
        headers = {**JPEG, "X-Amzn-SageMaker-Custom-Attributes": "a" * 1025}
        await house.error(await house.client.post("/invocations", data=b"x", headers=headers), 400, "bad_option")

    run(talk)


def test_while_it_shuts_down_each_answer_ends_its_connection(run: Run) -> None:
    async def talk(house: House) -> None:
        assert "Connection" not in (await ask(house)).headers
        house.door.state = State.DRAINING
        answer = await ask(house)
        assert (answer.status, answer.headers["Connection"]) == (200, "close")

    run(talk)


def test_when_the_server_ends_nobody_waits_longer_than_it_lives(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 5
        asking = asyncio.ensure_future(ask(house))
        await house.worker.started.wait()
        now = asyncio.get_running_loop().time()
        house.door.deadlines.bring_forward(now + 0.2)
        assert "shutting down" in await house.error(await asking, 503, "shutting_down")
        await house.error(await ask(house), 503, "shutting_down")
        assert asyncio.get_running_loop().time() - now < 3

    run(talk)


def test_an_end_that_is_far_away_changes_no_deadline(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 5
        house.door.deadlines.bring_forward(asyncio.get_running_loop().time() + 60)
        await house.error(await ask(house), 504, "timeout")

    run(talk, SAGEMAKER_MODEL_SERVER_TIMEOUT="1")
