"""The front door over HTTP, with a stand-in for MMS behind it on a unix socket: what its tests share."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestClient

from image_classifier.contract import Settings
from image_classifier.serving import sizing, spool, wire
from image_classifier.serving.front_door import Model, State
from image_classifier.serving.gate import Gate
from image_classifier.serving.http_server import Runner
from image_classifier.serving.single_model import SingleModelDoor

JPEG = {"Content-Type": "image/jpeg"}
GOOD = {"topk_labels": ["amber"]}


@dataclass
class Mms:
    """What MMS says next, and what it was told.

    Args:
        folder: where large bodies lie.
    """

    folder: Path
    status: int = 200
    body: bytes = json.dumps(GOOD).encode()
    answered: bool = True
    where: str = wire.HERE
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def predict(self, request: web.Request) -> web.Response:
        assert request.path == "/predictions/model"
        self.started.set()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((headers, await request.read() or self._laid(headers.get(wire.BODY))))
        await asyncio.sleep(self.delay)
        own = {wire.ANSWERED: self.where} if self.answered else {}
        return web.Response(status=self.status, body=self.body, headers={**self.headers, **own})

    def _laid(self, name: str | None) -> bytes:
        if name is None:
            return b""
        with spool.take(self.folder, name) as file:
            return file.read()


@dataclass
class Backend:
    """The part of ModelServer that the front door uses."""

    folder: Path
    predictions: aiohttp.ClientSession
    sizing: sizing.Sizing

    def can_start_workers(self, _name: str) -> bool:
        return True


@dataclass
class House:
    """All that a test talks to."""

    client: TestClient[Any, Any]
    door: SingleModelDoor
    port: int
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


class Served(BaseTestServer):
    """The application behind our own server, not behind aiohttp's."""

    def __init__(self, app: web.Application) -> None:
        super().__init__()
        self.app = app

    async def _make_runner(self, **_options: Any) -> Runner:
        return Runner(self.app, shutdown_timeout=1)


@asynccontextmanager
async def house(folder: Path, own_formats: bool, environ: dict[str, str]) -> AsyncIterator[House]:
    mms, app = Mms(folder), web.Application(client_max_size=0)
    app.router.add_post("/predictions/{name}", mms.predict)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    session = aiohttp.ClientSession("http://mms", connector=aiohttp.UnixConnector(str(folder / "s"), limit=0))
    settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "2", **environ})
    sizes = sizing.compute(settings, folder)
    door = SingleModelDoor(settings, Backend(folder, session, sizes))  # type: ignore[arg-type]
    door.state, door.model = State.READY, Model("model", folder, own_formats, Gate(sizes.dispatched, sizes.queue))
    server = Served(door.application())
    async with session, TestClient(server) as client:
        assert server.port
        yield House(client, door, server.port, mms, runner.cleanup)
    await runner.cleanup()


def lay(house: House, answer: bytes) -> bytes:
    """Put an answer where a worker puts a large one; gives what the worker says then."""
    name = f"{spool.ANSWER}0"
    spool.put(house.mms.folder, name, answer)
    return name.encode()


Talk = Callable[[House], Awaitable[None]]
Run = Callable[..., None]
