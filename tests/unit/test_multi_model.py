"""The door of many models: room in memory is looked for before a load, with a stand-in for the model server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from image_classifier import compiled, machine
from image_classifier.compiled import Kind
from image_classifier.config import CONFIG
from image_classifier.contract import Settings
from image_classifier.serving import sizing
from image_classifier.serving.front_door import State
from image_classifier.serving.multi_model import MultiModelDoor
from image_classifier.serving.sizing import MIB, MODEL_COPIES, WORKER_BASE

Client = TestClient[web.Request, web.Application]
WEIGHTS = 10 * MIB
NEEDED = WORKER_BASE + MODEL_COPIES * WEIGHTS


def talk(folder: Path, conversation: Callable[[Client, asyncio.Event], Awaitable[None]]) -> None:
    """Talk to a door whose model server loads at once, or when the event is set."""

    async def visit() -> None:
        may_load = asyncio.Event()
        may_load.set()

        async def load(model: Path) -> str:
            await may_load.wait()
            return f"m-{model.name}"

        async def unload(_name: str) -> None: ...

        settings = Settings.from_environment({"SAGEMAKER_MULTI_MODEL": "true"})
        server = SimpleNamespace(sizing=sizing.compute(settings, folder), load=load, unload=unload)
        door = MultiModelDoor(settings, server)  # type: ignore[arg-type]
        door.state = State.READY
        async with TestClient(TestServer(door.application())) as client:
            await conversation(client, may_load)

    asyncio.run(visit())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(WEIGHTS)
    return tmp_path


def load(client: Client, name: str, folder: Path) -> Awaitable[aiohttp.ClientResponse]:
    return client.post("/models", data=json.dumps({"model_name": name, "url": str(folder)}))


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: size)


def test_what_does_not_fit_beside_others_is_507_with_the_sum(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200
        free(monkeypatch, NEEDED - 1)
        answer = await load(client, "second", folder)
        said = await answer.json()
        assert (answer.status, said["code"]) == (507, "out_of_memory")
        assert f"about {NEEDED // MIB} MiB of memory and {NEEDED // MIB - 1} MiB are free" in said["message"]
        assert (await client.get("/models/second")).status == 404
        free(monkeypatch, NEEDED)
        assert (await load(client, "second", folder)).status == 200

    free(monkeypatch, NEEDED)
    talk(folder, conversation)


def test_a_model_alone_is_always_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200
        assert (await client.delete("/models/first")).status == 200
        assert (await load(client, "next", folder)).status == 200

    free(monkeypatch, 0)
    talk(folder, conversation)


def test_what_is_loading_counts_as_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, may_load: asyncio.Event) -> None:
        may_load.clear()
        first = asyncio.ensure_future(load(client, "first", folder))
        await asyncio.sleep(0.1)
        assert (await load(client, "first", folder)).status == 409
        assert (await load(client, "second", folder)).status == 507
        may_load.set()
        assert (await first).status == 200

    free(monkeypatch, 2 * NEEDED - 1)
    talk(folder, conversation)


@pytest.mark.parametrize("config", ["{", "", '{"compiled": 1}'])
def test_a_broken_model_is_no_reason_to_say_507(folder: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / CONFIG).write_text(config)

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200
        assert (await load(client, "second", folder)).status == 200

    free(monkeypatch, NEEDED + MODEL_COPIES * MIB)
    talk(folder, conversation)


def test_a_compiled_model_needs_less(tmp_path: Path) -> None:
    path = compiled.path(tmp_path, Kind.INT8).with_suffix(".bin")
    path.parent.mkdir()
    path.write_bytes(bytes(MIB))
    assert sizing.needed(tmp_path, Kind.INT8) == sizing.COMPILED_BASE + MODEL_COPIES * MIB
    assert sizing.needed(tmp_path, None) == WORKER_BASE
