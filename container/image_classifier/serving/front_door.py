"""The HTTP server that SageMaker speaks to: readiness, limits, errors. Predictions go on to MMS."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.payload import Payload

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import openapi, spool, wire, worker_answer
from image_classifier.serving.deadlines import Deadlines
from image_classifier.serving.gate import Gate, Patience
from image_classifier.serving.http_server import REQUEST_ID_HEADER, has_gone, request_id, respond
from image_classifier.serving.intake import Body, Budget, Intake
from image_classifier.serving.location import find
from image_classifier.serving.mms import ModelServer
from image_classifier.serving.parts import Part
from image_classifier.serving.probe import Probe
from image_classifier.serving.recycling import Recycling
from image_classifier.serving.sending import send
from image_classifier.serving.telemetry import Telemetry
from image_classifier.serving.worker_headers import worker_headers
from image_classifier.serving.workers import Gone

logger = logging.getLogger(__name__)

QUOTES = 6  # of `{"instances": [{"b64": "…"}]}`; text that has no more holds three pictures at most
_LAID = web.RequestKey("laid", int)  # bytes of the answer, where it lies in a file


class State(StrEnum):
    """What the server is doing."""

    LOADING = "The model is loading."
    READY = "ready"
    NO_WORKERS = "No worker is ready."
    DRAINING = "The server is shutting down."


@dataclass
class Model:
    """A model that was loaded.

    Args:
        name: in MMS; another when it has been loaded again.
        own_formats: False where the user's script decides about content types and answers.
    """

    name: str
    folder: Path
    own_formats: bool
    gate: Gate


@dataclass
class Door:
    """What both front doors have in common: from a request to its answer."""

    settings: Settings
    server: ModelServer
    telemetry: Telemetry = field(default_factory=Telemetry)
    state: State = State.LOADING
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.deadlines = Deadlines(self.settings.request_seconds)
        self.probe = Probe(self.server)
        self._working: set[asyncio.Task[web.Response]] = set()
        self._numbers = itertools.count(1)  # of the files of answers
        self.bodies = Budget(self.server.sizing.bodies)
        self.files = Budget(self.server.sizing.files)
        self._uploads = Gate(self.server.sizing.uploads, self.server.sizing.queue)
        patience = Patience(self.settings.request_seconds / 2)  # who waits has the other half to be answered
        self.recycling = Recycling(self.server, self._uploads, patience)
        self.telemetry.gauge("classifier_in_flight", "Requests not answered yet.", lambda: self.in_flight)
        self.telemetry.gauge("classifier_waiting", "Requests that wait for a worker.", self._waiting)
        self.telemetry.gauge("classifier_ready", "Whether /ping says 200.", lambda: self.state is State.READY)

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(middlewares=[self._finish], client_max_size=0)
        app.router.add_get("/ping", self.ping)
        app.router.add_get("/metrics", self.metrics)
        self.add_routes(app.router)
        openapi.add_routes(app.router, self.settings, self.own_formats)
        return app

    def own_formats(self) -> bool:
        """Whether requests are answered in our formats, not in those of a user's script."""
        raise NotImplementedError

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add what is served beside `/ping`."""
        raise NotImplementedError

    def models_loaded(self) -> list[Model]:
        """The models that can be asked now."""
        raise NotImplementedError

    def _waiting(self) -> float:
        return self._uploads.waiting + sum(model.gate.waiting for model in self.models_loaded())

    @web.middleware
    async def _finish(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Give every request an id, every error the same form, and count them all."""
        start = time.monotonic()
        self.in_flight += 1
        try:
            response = await respond(request, handler)
            response.headers[REQUEST_ID_HEADER] = request_id(request)
            if self.state is State.DRAINING:
                response.force_close()  # the caller's next request goes to another server
            self.telemetry.answered(_path(request), response.status, time.monotonic() - start)
            await send(request, response)  # aiohttp finds it sent
        finally:
            self.in_flight -= 1
            self.files.free += request.get(_LAID, 0)
        return response

    async def ping(self, _request: web.Request) -> web.Response:
        """200 with an empty body when a picture sent now would be answered."""
        if self.state is State.READY:
            return web.Response()
        raise RequestError(503, "not_ready", self.state)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Counters and histograms in Prometheus's text format."""
        body, content_type = await asyncio.to_thread(self.telemetry.text)
        return web.Response(body=body, headers={"Content-Type": content_type})

    def opened(self, name: str, folder: Path) -> Model:
        """A model that MMS has loaded, as requests see it."""
        own_formats = find(folder, self.settings) is None
        return Model(name, folder, own_formats, Gate(self.server.sizing.dispatched, self.server.sizing.queue))

    async def answer(self, request: web.Request, model: Model) -> web.Response:
        """Answer a request with one model, within the deadline."""
        headers = worker_headers(request, model.own_formats, self.settings)
        if self.state in (State.LOADING, State.NO_WORKERS):
            raise RequestError(503, "not_ready", self.state)
        intake = Intake(request, self.server.sizing.payload, self.bodies, self.files, self.server.folder)
        try:
            async with self.deadlines.kept():
                body, come = await intake.read(), time.monotonic()
                gate = model.gate if isinstance(body, bytes) else self._uploads
                await self._enter(gate, request)
                headers |= {} if self._working else {wire.ALONE: "yes"}
                response = await asyncio.shield(self._work(gate, self.predict(model, body, headers, come)))
        except Gone:
            raise RequestError(503, "unavailable", "No worker could take the request; try again.") from None
        finally:
            intake.end()
        return await self._with_room(request, response)

    async def _with_room(self, request: web.Request, response: web.Response) -> web.Response:
        """Count the file of a large answer until it has been sent."""
        if isinstance(response.body, Payload):
            try:
                request[_LAID] = self.files.take(response.body.size or 0)
            except RequestError:
                await response.body.close()
                raise
        return response

    async def _enter(self, gate: Gate, request: web.Request) -> None:
        await gate.enter()
        if has_gone(request):
            gate.leave()
            raise RequestError(499, "gone", "The caller has gone.")

    def _work(self, gate: Gate, prediction: Coroutine[Any, Any, web.Response]) -> asyncio.Task[web.Response]:
        """Hold a slot until a worker is done with it, also when the caller's deadline has passed before."""
        task = asyncio.create_task(prediction)
        self._working.add(task)

        def end(done: asyncio.Task[web.Response]) -> None:
            gate.leave()
            self._working.discard(done)
            if not done.cancelled():
                done.exception()  # the caller was told, or has gone

        task.add_done_callback(end)
        return task

    async def predict(self, model: Model, body: Body, headers: dict[str, str], come: float | None) -> web.Response:
        """Let a worker answer what has come at a time of the monotonic clock; None is ours, and not measured.

        Raises:
            RequestError: 503, the answer is gone.
            Gone: the worker has ended.
        """
        data, name = (body, {}) if isinstance(body, bytes) else (b"", {wire.BODY: body.name})
        laid = f"{spool.ANSWER}{next(self._numbers)}"
        asked = Part({wire.ANSWER_FILE: laid, **headers, **name}, data)
        try:
            answer = await self.server.workers.ask(model.name, asked, alone=not _is_short(model, asked))
            self.probe.hear(answer.status)
            if pid := int(answer.headers.get(wire.GROWN, 0)):
                self.recycling.grown[pid] = model
            if come is not None:
                self.telemetry.predicted(answer.headers.get(wire.STAGES, ""), time.monotonic() - come)
            return worker_answer.response(answer, self.server.folder)
        except BaseException:  # its worker may have died after it had laid the answer there
            (self.server.folder / laid).unlink(missing_ok=True)
            raise

    def tell(self, fault: str) -> None:
        """Let /ping say whether there is a fault; the log says when that changes."""
        state = State.NO_WORKERS if fault else State.READY
        if self.turn(state):
            logger.warning("%s", fault or "Workers are ready again.")

    def turn(self, state: State) -> bool:
        """Be in another state, unless the server is shutting down; whether it is another one."""
        if self.state in (state, State.DRAINING):
            return False
        self.state = state
        return True


def _is_short(model: Model, asked: Part) -> bool:
    """Whether a request surely takes no longer than a few pictures do, so that others may be answered with it."""
    few = wire.MANY not in asked.headers or asked.body.count(b'"') <= QUOTES
    return model.own_formats and bool(asked.body) and few


def _path(request: web.Request) -> str:
    """The route, not the path: a label must not have as many values as callers have ideas."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "other"
