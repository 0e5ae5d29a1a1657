"""What the front door refuses, and how it says so."""

import io
import logging
from collections.abc import AsyncIterator

import pytest

from house import JPEG, House, Run


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_beyond_the_limit_is_413_by_its_header_or_as_it_streams(run: Run, size: int, streamed: bool) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, size, 1 << 16):
            yield bytes(min(1 << 16, size - start))

    async def talk(house: House) -> None:
        data = stream() if streamed else io.BytesIO(bytes(size))
        answer = await house.client.post("/invocations", data=data, headers=JPEG)
        message = await house.error(answer, 413, "too_large")
        assert "limit of 1 MiB (SAGEMAKER_MAX_PAYLOAD_IN_MB)" in message
        assert house.worker.seen == []

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="1")


def test_a_body_at_the_limit_passes(run: Run) -> None:
    async def talk(house: House) -> None:
        answer = await house.client.post("/invocations", data=io.BytesIO(bytes(1 << 20)), headers=JPEG)
        assert answer.status == 200
        assert len(house.worker.seen[0][1]) == 1 << 20

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/invocations", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/invocations", {**JPEG, "Accept": "text/html;q=0.5, image/png"}, 406, "not_acceptable"),
        ("POST", "/invocations?top_k=0", JPEG, 400, "bad_option"),
        ("POST", "/invocations", {**JPEG, "X-Amzn-SageMaker-Custom-Attributes": "top_k=x"}, 400, "bad_option"),
        ("GET", "/", {}, 404, "not_found"),
        ("POST", "/predictions/model", JPEG, 404, "not_found"),
        ("GET", "/models", {}, 404, "not_found"),
        ("GET", "/invocations", {}, 405, "method_not_allowed"),
        ("POST", "/ping", {}, 405, "method_not_allowed"),
        ("DELETE", "/ping", {}, 405, "method_not_allowed"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_json(
    run: Run, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async def talk(house: House) -> None:
        answer = await house.client.request(method, path, headers=headers, data=b"x" if method == "POST" else None)
        await house.error(answer, status, code)
        assert ("Allow" in answer.headers) is (status == 405)
        assert house.worker.seen == []

    run(talk)


def test_a_server_that_takes_too_long_is_504(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.delay = 3
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert "within 1 seconds" in await house.error(answer, 504, "timeout")
        assert house.door.in_flight == 0

    run(talk, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="1")


def test_a_worker_that_ends_with_a_request_in_hand_is_503(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.ends = True
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert "try again" in await house.error(answer, 503, "unavailable")
        house.worker.ends = False  # others are there
        assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200

    run(talk)


def test_an_error_in_the_door_itself_is_500_without_a_traceback(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(house: House) -> None:
        def fail(*_arguments: object, **_options: object) -> None:
            raise ZeroDivisionError("secret detail")

        house.door.server.workers.ask = fail  # type: ignore[method-assign,assignment]
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert "secret" not in await house.error(answer, 500, "internal_error")

    caplog.set_level(logging.ERROR)
    run(talk)
    assert "secret detail" in caplog.text


def test_a_body_that_is_not_what_its_encoding_says_is_the_callers_mistake(run: Run) -> None:
    async def talk(house: House) -> None:
        headers = {**JPEG, "Content-Encoding": "gzip"}
        answer = await house.client.post("/invocations", data=b"no gzip", headers=headers)
        await house.error(answer, 400, "bad_body")
        assert house.worker.seen == []

    run(talk)
