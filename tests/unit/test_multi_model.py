"""The door of many models: room in memory is looked for before a load, with a stand-in for the model server."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
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
from image_classifier.errors import PlatformError, RequestError
from image_classifier.serving import intake, multi_model, probe, sizing
from image_classifier.serving.front_door import State
from image_classifier.serving.multi_model import MultiModelDoor
from image_classifier.serving.sizing import COPIES, MIB, WORKER_BASE

Client = TestClient[web.Request, web.Application]
DOOR = web.AppKey("door", MultiModelDoor)
WEIGHTS = 10 * MIB
NEEDED = WORKER_BASE + round(COPIES[None] * WEIGHTS)


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
        sizes = sizing.compute(settings, folder)
        server = SimpleNamespace(
            folder=folder,
            sizing=sizes,
            load=load,
            unload=unload,
            workers=SimpleNamespace(ready=lambda _name: list(range(sizes.workers))),
            can_start_workers=lambda _name: True,
        )
        door = MultiModelDoor(settings, server)  # type: ignore[arg-type]
        door.state = State.READY
        app = door.application()
        app[DOOR] = door
        async with TestClient(TestServer(app)) as client:
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


def test_what_was_loaded_is_told_with_its_engine_and_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200

    free(monkeypatch, NEEDED)
    caplog.set_level("INFO")
    talk(folder, conversation)
    assert f"Model: unknown with unknown classes in {folder} (1 files, 10.5 MB: weights), answered by" in caplog.text
    assert "Engine: PyTorch fp32, as it was trained, on cpu; it has no compiled variants." in caplog.text


def test_a_model_alone_is_always_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200
        assert (await client.delete("/models/first")).status == 200
        assert (await load(client, "next", folder)).status == 200

    free(monkeypatch, 0)
    talk(folder, conversation)


def test_a_model_that_does_not_fit_alone_is_too_large_and_beside_others_out_of_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_folder: Path) -> str:
        raise RequestError(507, "out_of_memory", f"The model in {folder} does not fit into memory.")

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        server = client.app[DOOR].server
        fits, server.load = server.load, full  # type: ignore[method-assign]
        answer = await load(client, "alone", folder)
        said = await answer.json()
        assert (answer.status, said["code"]) == (500, "model_too_large")
        assert f"about {NEEDED // MIB} MiB of memory and {NEEDED // MIB} MiB are free" in said["message"]
        server.load = fits  # type: ignore[method-assign]
        assert (await load(client, "first", folder)).status == 200
        server.load = full  # type: ignore[method-assign]
        answer = await load(client, "second", folder)
        assert (answer.status, (await answer.json())["code"]) == (507, "out_of_memory")

    free(monkeypatch, NEEDED)
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


def test_ping_is_503_while_java_is_stuck_and_when_it_stays_so_the_server_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conversation(client: Client, may_load: asyncio.Event) -> None:
        door = client.app[DOOR]
        door.server.answers = lambda: asyncio.sleep(0, may_load.is_set())  # type: ignore[method-assign]
        watching = asyncio.create_task(door.watch())
        for well in (True, False, True):
            (may_load.set if well else may_load.clear)()
            await asyncio.sleep(0.2)
            assert (await client.get("/ping")).status == (200 if well else 503)
        may_load.clear()
        monkeypatch.setattr(multi_model, "STUCK_SECONDS", 0.1)
        with pytest.raises(PlatformError, match="does not answer"):
            await asyncio.wait_for(watching, 2)

    monkeypatch.setattr(probe, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(multi_model, "WATCH_SECONDS", 0.02)
    talk(folder, conversation)


def test_a_model_that_takes_long_to_load_again_delays_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("slow", "quick")
    folders = {name: folder / name for name in names}
    for each in folders.values():
        each.mkdir()

    async def conversation(client: Client, may_load: asyncio.Event) -> None:
        door = client.app[DOOR]
        for name in names:
            assert (await load(client, name, folders[name])).status == 200
        loads = Counter[str]()

        async def load_again(model: Path) -> str:
            loads[model.name] += 1
            if model.name == "slow":
                await may_load.wait()
            return f"again-{model.name}"

        door.server.load = load_again  # type: ignore[method-assign]
        door.server.can_start_workers = lambda name: name.startswith("again")  # type: ignore[method-assign]
        may_load.clear()
        looking = asyncio.create_task(door._look_after())
        await asyncio.sleep(0.3)
        assert door.models["quick"].name == "again-quick"
        assert door.models["slow"].name == "m-slow"
        may_load.set()
        await asyncio.sleep(0.1)
        assert door.models["slow"].name == "again-slow"
        assert loads == Counter(slow=1, quick=1)  # each once, however long it takes
        assert not door.again
        looking.cancel()

    monkeypatch.setattr(multi_model, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(multi_model, "PATIENCE_SECONDS", 0.1)
    free(monkeypatch, 2 * NEEDED)
    talk(folder, conversation)


def test_the_workers_of_all_models_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        for name in ("first", "second"):
            assert (await load(client, name, folder)).status == 200
        lines = (await (await client.get("/metrics")).text()).splitlines()
        assert {"classifier_workers_alive 2.0", "classifier_models 2.0"} <= set(lines)

    free(monkeypatch, 2 * NEEDED)
    talk(folder, conversation)


def test_what_is_described_is_true_of_every_loaded_model(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = tmp_path_factory.mktemp("scripted")
    (scripted / "code").mkdir()
    (scripted / "code" / "inference.py").touch()

    async def accepted(client: Client) -> set[str]:
        document = await (await client.get("/openapi.json")).json()
        return set(document["paths"]["/models/{name}/invoke"]["post"]["requestBody"]["content"])

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "ours", folder)).status == 200
        assert "image/*" in await accepted(client)
        assert (await load(client, "theirs", scripted)).status == 200
        assert await accepted(client) == {"*/*"}
        assert (await client.delete("/models/theirs")).status == 200
        assert "image/*" in await accepted(client)

    free(monkeypatch, 3 * NEEDED)
    talk(folder, conversation)


def test_a_load_ends_at_once_when_the_server_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(client: Client, may_load: asyncio.Event) -> None:
        door = client.app[DOOR]
        assert (await load(client, "first", folder)).status == 200
        may_load.clear()
        loading = asyncio.ensure_future(load(client, "second", folder))
        await asyncio.sleep(0.1)
        door.deadlines.bring_forward(asyncio.get_running_loop().time() + 60)
        late = [await loading, await load(client, "third", folder), await client.delete("/models/first")]
        assert [(answer.status, (await answer.json())["code"]) for answer in late] == [(503, "shutting_down")] * 3
        assert (await client.get("/models/first")).status == 200  # what is loaded is served to the end

    free(monkeypatch, 2 * NEEDED)
    talk(folder, conversation)


def test_a_request_to_load_that_comes_in_pieces_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"model_name": "first", "url": str(folder)}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (body[:10], body[10:]):
            yield piece
            await asyncio.sleep(0.1)

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await client.post("/models", data=pieces())).status == 200
        assert (await client.get("/models/first")).status == 200

    free(monkeypatch, NEEDED)
    talk(folder, conversation)


def test_a_request_to_load_that_stops_coming_is_408_and_503_when_the_server_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stall() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        silent = await asyncio.wait_for(client.post("/models", data=stall()), 5)
        assert (silent.status, (await silent.json())["code"]) == (408, "slow_body")
        monkeypatch.setattr(intake, "IDLE_SECONDS", 60)
        asked = asyncio.ensure_future(client.post("/models", data=stall()))
        await asyncio.sleep(0.1)
        client.app[DOOR].deadlines.bring_forward(asyncio.get_running_loop().time() + 60)
        late = await asyncio.wait_for(asked, 5)
        assert (late.status, (await late.json())["code"]) == (503, "shutting_down")

    monkeypatch.setattr(intake, "IDLE_SECONDS", 0.2)
    talk(folder, conversation)


@pytest.mark.parametrize("size", [MIB, MIB + 1])
def test_a_request_to_load_of_a_megabyte_is_refused_in_its_own_words(folder: Path, size: int) -> None:
    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        answer = await client.post("/models", data=io.BytesIO(b"[" * size))
        said = await answer.json()
        if size > MIB:
            assert (answer.status, said["message"]) == (413, "The body is larger than the limit of 1 MiB.")
        else:
            assert (answer.status, said["code"]) == (400, "bad_request")

    talk(folder, conversation)


@pytest.mark.parametrize("config", ["{", "", '{"compiled": 1}'])
def test_a_broken_model_is_no_reason_to_say_507(folder: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / CONFIG).write_text(config)

    async def conversation(client: Client, _may_load: asyncio.Event) -> None:
        assert (await load(client, "first", folder)).status == 200
        assert (await load(client, "second", folder)).status == 200

    free(monkeypatch, NEEDED + round(COPIES[None] * MIB))
    talk(folder, conversation)


def test_a_compiled_model_needs_less(tmp_path: Path) -> None:
    path = compiled.path(tmp_path, Kind.INT8).with_suffix(".bin")
    path.parent.mkdir()
    path.write_bytes(bytes(MIB))
    assert sizing.needed(tmp_path, Kind.INT8) == sizing.COMPILED_BASE + COPIES[Kind.INT8] * MIB
    assert sizing.needed(tmp_path, None) == WORKER_BASE
