"""Many models in one container: the calls SageMaker makes when SAGEMAKER_MULTI_MODEL=true.

Source: SageMaker Developer Guide, "Custom containers contract for multi-model endpoints".
"""

import asyncio
import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from image_classifier import machine
from image_classifier.contract import Settings
from image_classifier.errors import PlatformError, RequestError, UserError
from image_classifier.serving import engines, report, sizing
from image_classifier.serving.engines import Choice
from image_classifier.serving.front_door import Door, Model, State
from image_classifier.serving.intake import Intake
from image_classifier.serving.probe import STUCK
from image_classifier.serving.sizing import BUFFER, MIB

logger = logging.getLogger(__name__)

BODY_LIMIT = BUFFER  # of a request to load a model: it comes in no file
WATCH_SECONDS = 2.0
RELOADS = 4  # of lost models at a time: each holds one of Java's threads
STUCK_SECONDS = 60  # in which Java may come back
PATIENCE_SECONDS = 20  # in which MMS starts a worker that died again


@dataclass
class MultiModelDoor(Door):
    """Loads, lists, invokes and unloads models by name."""

    models: dict[str, Model] = field(default_factory=dict)
    loading: dict[str, int] = field(default_factory=dict)  # to the bytes that each will need
    seen: dict[str, float] = field(default_factory=dict)  # by the model's name in MMS: when a worker was last alive
    lost: set[str] = field(default_factory=set)  # by the same name: they are being loaded again
    again: set[str] = field(default_factory=set)  # by the same name: their turn comes, or it is now
    invoked: Counter[str] = field(default_factory=Counter)  # by the model's name in MMS: requests not answered yet

    def __post_init__(self) -> None:
        super().__post_init__()
        self.telemetry.gauge("classifier_models", "Models that are loaded.", lambda: len(self.models))
        self.telemetry.gauge("classifier_workers_alive", "Workers that can take a request.", self._alive)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See Door."""
        router.add_post("/models", self.load_model)
        router.add_get("/models", self.list_models)
        router.add_get("/models/{name}", self.describe)
        router.add_delete("/models/{name}", self.unload)
        router.add_post("/models/{name}/invoke", self.invoke)

    def models_loaded(self) -> list[Model]:
        """See Door."""
        return list(self.models.values())

    def own_formats(self) -> bool:
        """See Door: what is true of every model that is loaded."""
        return all(model.own_formats for model in self.models_loaded())

    def _alive(self) -> int:
        return sum(len(self.server.workers.ready(model.name)) for model in self.models_loaded())

    async def load(self) -> None:
        """Start MMS; models are loaded on request."""
        await self.server.start()
        logger.info("Ready: models are loaded on request.")
        self.turn(State.READY)

    async def watch(self) -> None:
        """Keep /ping honest, and load the models again whose workers died for good: nobody else would.

        Raises:
            PlatformError: Java is stuck for good.
        """
        await asyncio.gather(self._listen(), self._look_after(), self.recycling.watch())

    async def _listen(self) -> None:
        last = time.monotonic()
        while time.monotonic() - last < STUCK_SECONDS:
            fault = STUCK if await self.probe.stuck() else ""
            self.tell(fault)
            last = last if fault else time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)
        raise PlatformError(STUCK)

    async def _look_after(self) -> None:
        turns = asyncio.Semaphore(RELOADS)
        async with asyncio.TaskGroup() as reloads:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                for name, model in list(self.models.items()):
                    if model.name not in self.again and self._is_lost(model):
                        logger.warning("Workers of the model %s died, and none come back; it is loaded again.", name)
                        self.again.add(model.name)
                        reloads.create_task(self._take_turn(turns, name, model))

    async def _take_turn(self, turns: asyncio.Semaphore, name: str, model: Model) -> None:
        async with turns:
            if self.models.get(name) is model:
                await self._load_again(name, model)
        self.again.discard(model.name)

    def _is_lost(self, model: Model) -> bool:
        if model.name not in self.lost and not self.server.can_start_workers(model.name):
            return True
        now = time.monotonic()
        if self.server.workers.ready(model.name) or model.name not in self.seen:
            self.seen[model.name] = now
        return now - self.seen[model.name] > PATIENCE_SECONDS

    async def _load_again(self, name: str, model: Model) -> None:
        self.seen.pop(model.name, None)
        self.lost.add(model.name)
        while self.invoked[model.name] and self.server.workers.ready(model.name):
            await asyncio.sleep(0.05)
        await self.server.unload(model.name)
        try:
            again = self.opened(await self.server.load(model.folder), model.folder)
        except RequestError as error:  # tried again after the same patience
            logger.warning("%s", error)
            return
        self.lost.discard(model.name)
        if self.models.get(name) is model:
            self.models[name] = again
        else:  # it was unloaded meanwhile
            await self.server.unload(again.name)

    async def load_model(self, request: web.Request) -> web.Response:
        """Load the model that the body names: {"model_name": …, "url": directory}."""
        async with self.deadlines.dropped():
            name, folder = _load_request(await self._small_body(request))
        if name in self.models or name in self.loading:
            raise RequestError(409, "already_loaded", f"The model {name} is loaded already.")
        if not folder.is_dir():
            raise RequestError(404, "not_found", f"There is no directory {folder}.")
        self.loading[name] = 0
        try:
            async with self.deadlines.dropped():
                choice = await asyncio.to_thread(_choice, folder, self.settings)
                self.loading[name] = await self._find_room(folder, choice)
                self.models[name] = self.opened(await self.server.load(folder), folder)
                await asyncio.to_thread(_tell, folder, self.settings, choice)
        except RequestError as error:
            if error.status == 507 and not self._others():
                raise self._too_large(error, name) from None
            raise
        finally:
            del self.loading[name]
        return web.json_response({"status": f"Model {name} loaded."})

    async def _small_body(self, request: web.Request) -> bytes:
        intake = Intake(request, BODY_LIMIT, self.bodies, self.files, self.server.folder, setting="")
        try:
            return bytes(await intake.read())
        finally:
            intake.end()

    async def _find_room(self, folder: Path, choice: Choice | None) -> int:
        """Bytes that a model needs.

        Raises:
            RequestError: 507, so many are not free, and there is another model to unload for it. Where there is none
                it may try: its refusal would be for ever.
        """
        each = await asyncio.to_thread(sizing.needed, folder, choice.kind if choice else None)
        needed = self.server.sizing.workers * each
        free = machine.free_memory() - sum(self.loading.values())
        if needed > free and self._others():
            sums = f"needs about {needed // MIB} MiB of memory and {max(0, free) // MIB} MiB are free"
            raise RequestError(507, "out_of_memory", f"The model in {folder} {sums}; unload another model.")
        return needed

    def _others(self) -> bool:
        """Whether there is a model beside the one that is being loaded."""
        return bool(self.models) or len(self.loading) > 1

    def _too_large(self, error: RequestError, name: str) -> RequestError:
        """What is told in place of 507: the platform would unload others, of which there are none, and ask for ever."""
        sums = f"about {self.loading[name] // MIB} MiB of memory and {machine.free_memory() // MIB} MiB are free"
        reason = f"{error.message} It needs {sums}, and there is no other model to unload; take a larger instance."
        return RequestError(500, "model_too_large", reason)

    async def list_models(self, request: web.Request) -> web.Response:
        """All loaded models, in one page."""
        del request
        return web.json_response({"models": [_entry(name, model) for name, model in self.models.items()]})

    async def describe(self, request: web.Request) -> web.Response:
        """One model."""
        name = self._known(request)
        return web.json_response(_entry(name, self.models[name]))

    async def unload(self, request: web.Request) -> web.Response:
        """End a model's workers when they have answered what had come."""
        name = self._known(request)
        async with self.deadlines.dropped():
            await self._unload(self.models.pop(name))
        return web.json_response({"status": f"Model {name} unloaded."})

    async def _unload(self, model: Model) -> None:
        while self.invoked[model.name]:
            await asyncio.sleep(0.05)
        del self.invoked[model.name]
        self.seen.pop(model.name, None)
        self.lost.discard(model.name)
        await self.server.unload(model.name)

    async def invoke(self, request: web.Request) -> web.Response:
        """Answer a request with the named model."""
        name = self._known(request)
        model = self.models[name]
        if model.name in self.lost:
            raise RequestError(503, "not_ready", f"The model {name} is loaded again; its workers died.")
        self.invoked[model.name] += 1
        try:
            return await self.answer(request, model)
        finally:
            self.invoked[model.name] -= 1

    def _known(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if name not in self.models:
            raise RequestError(404, "not_found", f"The model {name} is not loaded.")
        return name


def _load_request(body: bytes) -> tuple[str, Path]:
    try:
        content = json.loads(body)
        name, url = content["model_name"], content["url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = url = None
    if not isinstance(name, str) or not isinstance(url, str) or not name or not url:
        raise RequestError(400, "bad_request", 'Loading a model takes {"model_name": "…", "url": "directory"}.')
    return name, Path(url)


def _choice(folder: Path, settings: Settings) -> Choice | None:
    """What runs a model; None where a user's script decides, or something is wrong, which is told when it is loaded."""
    try:
        return report.engine(folder, settings, engines.CPU)
    except (UserError, OSError):
        return None


def _tell(folder: Path, settings: Settings, choice: Choice | None) -> None:
    """What the start-up report says where there is one model."""
    for line in [report.model(folder, settings), *([choice.describe()] if choice else [])]:
        logger.info("%s", line)
    for line in report.cautions(folder, settings):
        logger.warning("%s", line)


def _entry(name: str, model: Model) -> dict[str, str]:
    return {"modelName": name, "modelUrl": str(model.folder)}
