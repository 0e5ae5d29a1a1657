"""The front door over HTTP, with a stand-in for its workers: what its tests share."""

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
from image_classifier.serving.mms import ModelServer
from image_classifier.serving.parts import Part, pack, unpack
from image_classifier.serving.single_model import SingleModelDoor

JPEG = {"Content-Type": "image/jpeg"}
GOOD = {"topk_labels": ["amber"]}


@dataclass
class Worker:
    """What all workers of the model say next, and what they were told.

    Args:
        folder: where large bodies lie.
        number: of them.
    """

    folder: Path
    number: int = 8
    status: int = 200
    body: bytes = json.dumps(GOOD).encode()
    delay: float = 0.0
    ends: bool = False  # with a request in hand
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    together: list[int] = field(default_factory=list)  # requests of each message
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def called_in(self) -> AsyncIterator[None]:
        """In this block they take requests."""
        working = [asyncio.create_task(self._work(pid)) for pid in range(self.number)]
        try:
            yield
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _work(self, pid: int) -> None:
        reader, writer = await asyncio.open_unix_connection(self.folder / wire.LINE)
        writer.writelines(pack([Part({wire.MODEL: "model", wire.PID: str(pid)})]))
        data = bytearray()
        try:
            await reader.readexactly(1)  # the greeting
            while piece := await reader.read(1 << 16):
                data += piece
                if (asked := unpack(data)) is not None:
                    data.clear()
                    self.together.append(len(asked))
                    writer.writelines(pack([await self._answer(part) for part in asked]))
        finally:
            writer.close()

    async def _answer(self, asked: Part) -> Part:
        self.started.set()
        headers = {name.lower(): value for name, value in asked.headers.items()}
        self.seen.append((headers, asked.body or self._laid(headers.get(wire.BODY))))
        await asyncio.sleep(self.delay)
        if self.ends:
            raise asyncio.CancelledError
        return Part(self.headers, self.body, self.status)

    def _laid(self, name: str | None) -> bytes:
        if name is None:
            return b""
        with spool.take(self.folder, name) as file:
            return file.read()


@dataclass
class Backend(ModelServer):
    """The part of ModelServer that the front door uses: there is no Java."""

    def can_start_workers(self, _name: str) -> bool:
        return True


@dataclass
class House:
    """All that a test talks to."""

    client: TestClient[Any, Any]
    door: SingleModelDoor
    port: int
    worker: Worker

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
    worker = Worker(folder)
    settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "2", **environ})
    sizes = sizing.compute(settings, folder)
    backend = Backend(folder, settings, sizes)
    await backend.workers.listen(folder)
    backend.workers.expect("model")
    door = SingleModelDoor(settings, backend)
    door.state, door.model = State.READY, Model("model", folder, own_formats, Gate(sizes.dispatched, sizes.queue))
    server = Served(door.application())
    async with worker.called_in(), TestClient(server) as client:
        assert server.port
        yield House(client, door, server.port, worker)
    await backend.stop()


def lay(house: House, answer: bytes) -> None:
    """Have the worker lay its next answer into a file."""
    house.worker.body, house.worker.headers[wire.ANSWER_FILE] = b"", (name := f"{spool.ANSWER}0")
    spool.put(house.worker.folder, name, answer)


Talk = Callable[[House], Awaitable[None]]
Run = Callable[..., None]
