"""The front door over HTTP, with a stand-in for MMS behind it on a unix socket."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import wire
from image_classifier.serving.front_door import FrontDoor, State

TestServer.__test__ = False  # type: ignore[attr-defined]  # pytest would take them for tests
TestClient.__test__ = False  # type: ignore[attr-defined]

JPEG = {"Content-Type": "image/jpeg"}
GOOD = {"topk_labels": ["amber"]}


@dataclass
class Mms:
    """What MMS says next, and what it was told."""

    status: int = 200
    body: bytes = json.dumps(GOOD).encode()
    answered: bool = True
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def predict(self, request: web.Request) -> web.Response:
        assert request.path == "/predictions/model"
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((headers, await request.read()))
        await asyncio.sleep(self.delay)
        own = {wire.ANSWERED: "yes"} if self.answered else {}
        return web.Response(status=self.status, body=self.body, headers={**self.headers, **own})


@dataclass
class Backend:
    """The part of ModelServer that the front door uses."""

    predictions: aiohttp.ClientSession


@dataclass
class House:
    """All that a test talks to."""

    client: TestClient[Any, Any]
    door: FrontDoor
    mms: Mms
    close_mms: Callable[[], Awaitable[None]]

    async def error(self, answer: aiohttp.ClientResponse, status: int, code: str) -> str:
        """Check that an answer is an error in our form; gives its message."""
        content = await answer.json()
        assert (answer.status, answer.content_type) == (status, "application/json")
        assert content.keys() == {"code", "message", "request_id"}
        assert content["code"] == code
        assert content["request_id"] == answer.headers["X-Request-Id"]
        assert "Traceback" not in content["message"]
        assert (answer.headers.get("Retry-After") == "1") is (status == 503)
        return str(content["message"])


@asynccontextmanager
async def house(folder: Path, own_formats: bool, environ: dict[str, str]) -> AsyncIterator[House]:
    mms, app = Mms(), web.Application(client_max_size=0)
    app.router.add_post("/predictions/{name}", mms.predict)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    session = aiohttp.ClientSession("http://mms", connector=aiohttp.UnixConnector(str(folder / "s"), limit=0))
    door = FrontDoor(Settings.from_environment(environ), Backend(session), own_formats, State.READY)  # type: ignore[arg-type]
    async with session, TestClient(TestServer(door.application())) as client:
        yield House(client, door, mms, runner.cleanup)
    await runner.cleanup()


Talk = Callable[[House], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    def go(talk: Talk, own_formats: bool = True, **environ: str) -> None:
        async def visit() -> None:
            async with house(tmp_path_factory.mktemp("h"), own_formats, environ) as opened:
                await talk(opened)

        asyncio.run(visit())

    return go


@pytest.mark.parametrize("state", State)
def test_ping_is_200_only_when_ready(run: Run, state: State) -> None:
    async def talk(house: House) -> None:
        house.door.state = state
        answer = await house.client.get("/ping")
        if state is State.READY:
            assert (answer.status, await answer.read()) == (200, b"")
        else:
            assert await house.error(answer, 503, "not_ready") == state.value

    run(talk)


@pytest.mark.parametrize("state", [State.LOADING, State.NO_WORKERS])
def test_without_a_worker_a_request_is_503_and_reaches_nobody(run: Run, state: State) -> None:
    async def talk(house: House) -> None:
        house.door.state = state
        await house.error(await house.client.post("/invocations", data=b"x", headers=JPEG), 503, "not_ready")
        assert house.mms.seen == []

    run(talk)


def test_requests_that_come_while_draining_are_still_answered(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.state = State.DRAINING
        assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200

    run(talk)


def test_a_picture_reaches_the_worker_and_its_answer_the_caller(run: Run) -> None:
    async def talk(house: House) -> None:
        body = bytes(range(256)) * 500
        headers = {**JPEG, "Accept": "application/json;verbose", "X-Request-Id": "abc-1"}
        answer = await house.client.post("/invocations?top_k=3", data=body, headers=headers)
        assert (answer.status, answer.headers["X-Request-Id"]) == (200, "abc-1")
        assert await answer.json() == GOOD
        ((told, got),) = house.mms.seen
        assert got == body
        assert told["content-type"] == "application/octet-stream"
        assert (told[wire.REQUEST_ID], told[wire.TOP_K]) == ("abc-1", "3")
        assert told[wire.OUTPUT] == "application/json;verbose"
        assert house.door.in_flight == 0

    run(talk)


@pytest.mark.parametrize("given", ["", "a" * 65, "with space", "a/b", "äöü", "-", "<script>"])
def test_an_id_that_is_not_plain_is_replaced(run: Run, given: str) -> None:
    async def talk(house: House) -> None:
        answer = await house.client.get("/ping", headers={"X-Request-Id": given})
        made = answer.headers["X-Request-Id"]
        assert made != given
        assert len(made) == 32
        assert made.isalnum()

    run(talk)


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
        assert house.mms.seen == []

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="1")


def test_a_body_at_the_limit_passes(run: Run) -> None:
    async def talk(house: House) -> None:
        answer = await house.client.post("/invocations", data=io.BytesIO(bytes(1 << 20)), headers=JPEG)
        assert answer.status == 200
        assert len(house.mms.seen[0][1]) == 1 << 20

    run(talk, SAGEMAKER_MAX_PAYLOAD_IN_MB="1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/invocations", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/invocations", {**JPEG, "Accept": "text/csv;q=0.5, image/png"}, 406, "not_acceptable"),
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
        assert house.mms.seen == []

    run(talk)


def test_a_server_that_takes_too_long_is_504(run: Run) -> None:
    async def talk(house: House) -> None:
        house.mms.delay = 3
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert "within 1 seconds" in await house.error(answer, 504, "timeout")
        assert house.door.in_flight == 0

    run(talk, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="1")


def test_a_server_that_is_gone_is_503(run: Run) -> None:
    async def talk(house: House) -> None:
        await house.close_mms()
        await house.error(await house.client.post("/invocations", data=b"x", headers=JPEG), 503, "unavailable")

    run(talk)


@pytest.mark.parametrize(
    ("status", "answered", "seen", "code"),
    [
        (413, False, 413, "too_large"),
        (503, False, 503, "unavailable"),
        (507, False, 507, "out_of_memory"),
        (500, False, 503, "unavailable"),
        (400, False, 503, "unavailable"),
        (200, False, 500, "internal_error"),
    ],
)
def test_mms_s_own_errors_are_said_in_our_words(run: Run, status: int, answered: bool, seen: int, code: str) -> None:
    async def talk(house: House) -> None:
        house.mms.status, house.mms.answered = status, answered
        house.mms.body = b'{"code": 500, "type": "InternalServerException", "message": "java.lang.Traceback"}'
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert "java" not in await house.error(answer, seen, code)

    run(talk)


def test_what_the_handler_says_is_passed_on(run: Run) -> None:
    async def talk(house: House) -> None:
        house.mms.status, house.mms.body = 400, b'{"code": "bad_image"}'
        house.mms.headers = {"Content-Type": "application/json", wire.CUSTOM_ATTRIBUTES: "trace=7"}
        answer = await house.client.post("/invocations", data=b"x", headers=JPEG)
        assert (answer.status, await answer.read()) == (400, b'{"code": "bad_image"}')
        assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=7"

    run(talk)


def test_a_users_script_decides_about_its_own_formats(run: Run) -> None:
    async def talk(house: House) -> None:
        house.mms.headers = {"Content-Type": "text/csv"}
        headers = {"Content-Type": "text/csv", "Accept": "text/csv", "X-Amzn-SageMaker-Custom-Attributes": "a=1"}
        answer = await house.client.post("/invocations", data=b"1,2", headers=headers)
        assert (answer.status, answer.content_type) == (200, "text/csv")
        told = house.mms.seen[0][0]
        assert (told[wire.CONTENT_TYPE], told[wire.ACCEPT]) == ("text/csv", "text/csv")
        assert told[wire.CUSTOM_ATTRIBUTES] == "a=1"

    run(talk, own_formats=False)


def test_an_error_in_the_door_itself_is_500_without_a_traceback(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(house: House) -> None:
        def fail(*_arguments: object, **_options: object) -> None:
            raise ZeroDivisionError("secret detail")

        house.door.server.predictions.post = fail  # type: ignore[method-assign,assignment]
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
        assert house.mms.seen == []

    run(talk)


@pytest.mark.parametrize(("status", "passes"), [(200, True), (400, False), (500, False)])
def test_the_warm_up_passes_only_with_200(run: Run, status: int, passes: bool) -> None:
    async def talk(house: House) -> None:
        house.mms.status, house.mms.body = status, b'{"message": "cannot decode"}'
        if passes:
            await house.door.warm_up(b"picture")
        else:
            with pytest.raises(RequestError, match=r"warm-up prediction failed: .*cannot decode"):
                await house.door.warm_up(b"picture")

    run(talk)
