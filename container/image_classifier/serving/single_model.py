"""The door of an endpoint with one model: /invocations and /execution-parameters."""

import asyncio
import base64
import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass

from aiohttp import web

from image_classifier.contract import Layout
from image_classifier.errors import PlatformError, RequestError, UserError
from image_classifier.serving import formats, page, wire
from image_classifier.serving.front_door import Door, Model, State
from image_classifier.serving.location import find
from image_classifier.serving.probe import HUNG, STUCK, UNANSWERED
from image_classifier.serving.report import facts
from image_classifier.serving.workers import Gone

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
PATIENCE_SECONDS = 30  # and three times what loading took: so long after the last worker there is none to come
DEAD = "All workers died."
TRANSFORM_BYTES = 100  # MiB; a batch transform sends no more at a time, in all its requests together
# a grey PNG of one pixel
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


@dataclass
class SingleModelDoor(Door):
    """Serves the one model in `model/`."""

    model: Model | None = None
    alive: int = 0  # workers
    load_seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.telemetry.gauge("classifier_workers_alive", "Workers that can take a request.", lambda: self.alive)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See Door."""
        router.add_post("/invocations", self.invocations)
        router.add_get("/execution-parameters", self.execution_parameters)
        if self.settings.page and self.own_formats():
            page.add_routes(router, self.settings)

    def own_formats(self) -> bool:
        """See Door."""
        return find(Layout(self.settings.base_dir).model, self.settings) is None

    def models_loaded(self) -> list[Model]:
        """See Door."""
        return [self.model] if self.model else []

    async def invocations(self, request: web.Request) -> web.Response:
        """Check a request, pass it to a worker, and give its answer."""
        if self.model is None:
            raise RequestError(503, "not_ready", self.state)
        return await self.answer(request, self.model)

    async def execution_parameters(self, _request: web.Request) -> web.Response:
        """What a batch transform should do unless its job says otherwise."""
        settings, sizing = self.settings, self.server.sizing
        at_a_time = max(1, min(sizing.workers * sizing.batch, TRANSFORM_BYTES // settings.max_payload_mb))
        return web.json_response(
            {
                "MaxConcurrentTransforms": settings.concurrent_transforms or at_a_time,
                "BatchStrategy": settings.batch_strategy,
                "MaxPayloadInMB": min(settings.max_payload_mb, TRANSFORM_BYTES),
            }
        )

    async def load(self) -> None:
        """Start MMS, load the model, and see it answer.

        Raises:
            UserError: the model cannot be loaded, or does not answer a picture.
            PlatformError: it does not fit into memory, or MMS does not start.
        """
        folder, start = Layout(self.settings.base_dir).model, time.monotonic()
        if not folder.is_dir():
            raise UserError(f"There is no directory {folder}; mount the content of a model.tar.gz there.")
        await self.server.start()
        try:
            self.model = self.opened(await self.server.load(folder), folder)
            if self.model.own_formats:
                await self._warm_up(self.model)
        except RequestError as error:
            raise (PlatformError if error.status in (503, 507) else UserError)(error.message) from None
        self.load_seconds = time.monotonic() - start
        self.telemetry.model(**facts(folder))
        logger.info("Ready: the model in %s answers, after %.1f s.", folder, self.load_seconds)
        self.turn(State.READY)

    async def _warm_up(self, model: Model) -> web.Response:
        """Send one picture the whole way.

        Raises:
            RequestError: it was not answered with 200.
        """
        headers = {wire.REQUEST_ID: "warm-up", wire.OPTIONS: formats.Options(top_k=1).header()}
        try:
            response = await self.predict(model, _PICTURE, headers, come=None)
        except Gone:
            raise RequestError(503, "unavailable", "The worker ended while it warmed up.") from None
        if response.status != 200:
            text = response.body.decode("utf-8", "replace") if isinstance(response.body, bytes) else ""
            raise RequestError(response.status, "warm_up", f"The warm-up prediction failed: {text}")
        return response

    async def watch(self) -> None:
        """Keep /ping honest: ready only while a worker is; and see to it that dead ones can be replaced.

        Raises:
            PlatformError: no worker came back, or the model could not be loaded again.
        """
        await asyncio.gather(self._watch(), self._ask(), self.recycling.watch())

    async def _watch(self) -> None:
        last = time.monotonic()
        while self.model:
            self.alive = len(self.server.workers.ready(self.model.name))
            fault = await self._fault(self.model) if self.alive else DEAD
            self.tell(fault or (UNANSWERED if self.probe.unanswered() else ""))
            if not fault:
                last = time.monotonic()
            elif time.monotonic() - last > PATIENCE_SECONDS + 3 * self.load_seconds:
                raise PlatformError(f"{fault} None came back; the reason is in the log above.")
            if not self.server.can_start_workers(self.model.name):
                await self._load_again(self.model)
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask(self) -> None:
        """Send a picture where nobody does, and a worker has nothing else to do; a user's script is not ours to ask."""
        while self.model and self.model.own_formats:
            await asyncio.sleep(WATCH_SECONDS)
            gate = self.model.gate
            free = self._at_work(self.model) < self.alive and not gate.waiting
            if free and self.probe.picture_is_due():
                await gate.enter()
                async with self.probe.picture():
                    await asyncio.shield(self._work(gate, self._warm_up(self.model)))

    def _at_work(self, model: Model) -> int:
        return model.gate.inside + self._uploads.inside

    async def _load_again(self, model: Model) -> None:
        """Where a worker lives, who has a request gets its answer first, and who waits gets it later."""
        try:
            async with self.recycling.emptied(model) if self.alive else nullcontext():
                logger.warning("Workers that die would not be replaced any more; the model is loaded again.")
                self.turn(State.NO_WORKERS)
                await self.server.unload(model.name)
                model.name = await self.server.load(model.folder)
        except TimeoutError:
            return  # somebody is at work for long; tried again
        except RequestError as error:
            raise PlatformError(error.message) from None

    async def _fault(self, model: Model) -> str:
        if await self.probe.stuck():
            return STUCK
        busy = 0 < self.alive <= self._at_work(model) and model.own_formats  # a script may wait for something else
        return HUNG if busy and self.probe.idle(model.name) else ""
