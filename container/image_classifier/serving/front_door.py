"""The HTTP server that SageMaker speaks to: readiness, limits, errors. Predictions go on to MMS."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import aiohttp
from aiohttp import web

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import formats, wire
from image_classifier.serving.mms import MODEL, ModelServer
from image_classifier.serving.sizing import MIB

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
_ID = web.RequestKey("id", str)
CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
# MMS's own answers, said in our words
_MMS_ERRORS = {
    404: ("not_found", "There is no such model."),
    413: ("too_large", "The request or its answer is larger than the model server allows."),
    503: ("unavailable", "No worker could take the request; try again."),
    507: ("out_of_memory", "The model ran out of memory."),
}


class State(StrEnum):
    """What the server is doing."""

    LOADING = "The model is loading."
    READY = "ready"
    NO_WORKERS = "No worker is ready."
    DRAINING = "The server is shutting down."


@dataclass
class FrontDoor:
    """Routes, and the state behind `/ping`."""

    settings: Settings
    server: ModelServer
    own_formats: bool = True  # False: the user's script decides about content types and answers
    state: State = State.LOADING
    in_flight: int = 0

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(middlewares=[self._finish], client_max_size=0)
        app.router.add_get("/ping", self.ping)
        self.add_routes(app.router)
        return app

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add what is served beside `/ping`."""
        router.add_post("/invocations", self.invocations)

    @web.middleware
    async def _finish(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Give every request an id, and every error the same JSON form."""
        request_id = _request_id(request)
        try:
            response = await handler(request)
        except RequestError as error:
            response = _error_response(error, request_id)
        except web.HTTPException as error:  # unknown path or method
            response = _error_response(RequestError(error.status, _code(error.reason), f"{error.reason}."), request_id)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("Request %s failed in the front door.", request_id)
            sorry = RequestError(500, "internal_error", "The request failed; the reason is in the server's log.")
            response = _error_response(sorry, request_id)
        response.headers[REQUEST_ID_HEADER] = request_id
        return response

    async def ping(self, _request: web.Request) -> web.Response:
        """200 with an empty body when a picture sent now would be answered."""
        if self.state is State.READY:
            return web.Response()
        raise RequestError(503, "not_ready", self.state)

    async def invocations(self, request: web.Request) -> web.Response:
        """Check a request, pass it to a worker, and give its answer."""
        return await self.answer(request, MODEL, self.own_formats)

    async def answer(self, request: web.Request, model: str, own_formats: bool) -> web.Response:
        """Answer a request with one model."""
        headers = self._worker_headers(request, own_formats)
        body = await self._read_body(request)
        if self.state in (State.LOADING, State.NO_WORKERS):
            raise RequestError(503, "not_ready", self.state)
        self.in_flight += 1
        try:
            return await self._predict(model, body, headers)
        finally:
            self.in_flight -= 1

    async def warm_up(self, picture: bytes) -> None:
        """Send one picture the whole way.

        Raises:
            RequestError: it was not answered with 200.
        """
        options = {wire.REQUEST_ID: "warm-up", wire.OUTPUT: formats.Output.JSON, wire.TOP_K: "1"}
        response = await self._predict(MODEL, picture, options)
        if response.status != 200:
            text = response.body.decode("utf-8", "replace") if isinstance(response.body, bytes) else ""
            raise RequestError(response.status, "warm_up", f"The warm-up prediction failed: {text}")

    def _worker_headers(self, request: web.Request, own_formats: bool) -> dict[str, str]:
        custom = request.headers.get(CUSTOM_ATTRIBUTES_HEADER, "")
        accept = request.headers.get("Accept", "")
        content_type = request.headers.get("Content-Type", "")
        headers = {wire.REQUEST_ID: _request_id(request)}
        if not own_formats:
            accept = self.settings.default_accept if accept in ("", "*/*") else accept
            given = {wire.CONTENT_TYPE: content_type, wire.ACCEPT: accept, wire.CUSTOM_ATTRIBUTES: custom}
            return headers | {name: value for name, value in given.items() if value}
        formats.check_content_type(content_type)
        headers[wire.OUTPUT] = formats.choose_output(accept, self.settings.default_accept)
        headers[wire.TOP_K] = str(formats.choose_top_k(request.query, custom, self.settings.top_k))
        return headers

    async def _read_body(self, request: web.Request) -> bytes:
        limit = self.settings.max_payload_mb * MIB
        too_large = RequestError(
            413,
            "too_large",
            f"The body is larger than the limit of {self.settings.max_payload_mb} MiB (SAGEMAKER_MAX_PAYLOAD_IN_MB).",
        )
        if (request.content_length or 0) > limit:
            raise too_large
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large
        except web.RequestPayloadError:  # a broken Content-Encoding or chunk
            raise RequestError(400, "bad_body", "The body is not what its headers say; send it as it is.") from None
        return bytes(body)

    async def _predict(self, model: str, body: bytes, headers: dict[str, str]) -> web.Response:
        headers = {"Content-Type": "application/octet-stream", **headers}
        timeout = aiohttp.ClientTimeout(self.settings.timeout_seconds)
        try:
            async with self.server.predictions.post(
                f"/predictions/{model}", data=body, headers=headers, timeout=timeout
            ) as response:
                return _translate(response, await response.read())
        except TimeoutError:
            limit = self.settings.timeout_seconds
            raise RequestError(504, "timeout", f"No answer within {limit} seconds; try again.") from None
        except aiohttp.ClientError:
            raise RequestError(503, "unavailable", _MMS_ERRORS[503][1]) from None


def _translate(response: aiohttp.ClientResponse, body: bytes) -> web.Response:
    """Pass on what the handler said; put MMS's own errors into our form."""
    if wire.ANSWERED not in response.headers:
        if response.status == 200:  # a script that answers 200 without our handler does not exist
            raise RequestError(500, "internal_error", "The model server gave no answer.")
        # MMS says 500 where a worker died with the request in hand: another worker can take it
        status = response.status if response.status in _MMS_ERRORS else 503
        raise RequestError(status, *_MMS_ERRORS[status])
    headers = {"Content-Type": response.headers.get("Content-Type", "application/octet-stream")}
    custom = response.headers.get(wire.CUSTOM_ATTRIBUTES)
    if custom:
        headers[CUSTOM_ATTRIBUTES_HEADER] = custom
    return web.Response(status=response.status, body=body, headers=headers)


def _error_response(error: RequestError, request_id: str) -> web.Response:
    headers = {"Retry-After": "1"} if error.status == 503 else {}
    body = formats.encode_error(error.code, error.message, request_id)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def _request_id(request: web.Request) -> str:
    """The caller's id when it is a plain one, else a new one; the same for the whole request."""
    if _ID not in request:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        plain = 0 < len(given) <= 64 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
        request[_ID] = given if plain else uuid.uuid4().hex
    return request[_ID]


def _code(reason: str) -> str:
    return reason.lower().replace(" ", "_")
