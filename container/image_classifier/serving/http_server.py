"""aiohttp's server with our errors: what is not even HTTP is answered in JSON too, and fills no log."""

import asyncio
import logging
import os
import select
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion11, StreamReader, web

from image_classifier.errors import RequestError
from image_classifier.serving.formats import encode_error
from image_classifier.serving.sending import Watch

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
INFERENCE_ID_HEADER = "X-Amzn-SageMaker-Inference-Id"  # SageMaker passes on no other id
_ID = web.RequestKey("id", str)


def request_id(request: web.Request) -> str:
    """The caller's id when it is a plain one, else a new one; the same for the whole request."""
    if _ID not in request:
        given = request.headers.get(REQUEST_ID_HEADER) or request.headers.get(INFERENCE_ID_HEADER) or ""
        plain = 0 < len(given) <= 64 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
        request[_ID] = given if plain else _new_id()
    return request[_ID]


def _new_id() -> str:
    return os.urandom(16).hex()


def error_response(error: RequestError, request_id: str) -> web.Response:
    """An error in the one form that all errors have."""
    headers = {REQUEST_ID_HEADER: request_id}
    if error.status == 503:
        headers["Retry-After"] = "1"
    body = encode_error(error.code, error.message, request_id)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


async def respond(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What the handler answers; an error in our form."""
    identity = request_id(request)
    try:
        return await handler(request)
    except RequestError as error:
        return error_response(error, identity)
    except web.HTTPException as error:  # unknown path or method
        refusal = RequestError(error.status, error.reason.lower().replace(" ", "_"), f"{error.reason}.")
        response = error_response(refusal, identity)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        logger.exception("Request %s failed in the front door.", identity)
        sorry = RequestError(500, "internal_error", "The request failed; the reason is in the server's log.")
        return error_response(sorry, identity)


class _Connection(web.RequestHandler):
    __slots__ = ("_last", "_watch", "ended")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._last: StreamReader | None = None  # the body of the last request
        self._watch: Watch | None = None  # over a caller that takes an answer slowly
        self.ended = False  # the caller has closed its side

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what reached no handler; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("An answer is on its way already.")
        if status < 500:
            error = RequestError(400, "bad_http", "This is not HTTP as this server understands it.")
        else:
            error = RequestError(503, "unavailable", "The request could not be handled; try again.")
        response = error_response(error, _new_id())
        response.force_close()
        return response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let who waits for an answer to be written wait until the kernel has all of it."""
        super().connection_made(transport)
        cast(asyncio.Transport, transport).set_write_buffer_limits(0)

    def pause_writing(self) -> None:
        """The kernel takes no more now: see that the caller does."""
        super().pause_writing()
        self._watch = Watch(self.transport) if self.transport else None

    def resume_writing(self) -> None:
        """It has taken all."""
        super().resume_writing()
        if self._watch:
            self._watch.end()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; the last one that has begun is remembered."""
        super().data_received(data)
        if self._messages:
            _, self._last = self._messages[-1]

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more. What it has asked as a whole is answered first: it may still listen."""
        waiting = self._waiter is not None and not self._waiter.done()  # nothing is asked, or all is answered
        if waiting or self._last is None or not self._last.is_eof():
            return False  # asyncio closes the connection
        self.ended = True
        if self._current_request:
            self.ask(self._current_request)
        self.close()
        return True

    def ask(self, request: web.BaseRequest) -> None:
        """Send what callers skip, while the answer has not begun: who has closed both sides refuses it, and is seen."""
        unanswered = request.version == HttpVersion11 and request.writer.output_size == 0
        if self.transport and self.ended and unanswered:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def has_gone(request: web.Request) -> bool:
    """Whether the caller has closed its connection in both directions, as far as is known."""
    connection, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        return True
    if isinstance(connection, _Connection):
        connection.ask(request)
    known = select.poll()
    known.register(transport.get_extra_info("socket").fileno(), 0)  # errors and the end are always told
    return bool(known.poll(0))


class _Server(web.Server):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._options = options

    def __call__(self) -> web.RequestHandler:
        kept = {name: self._options[name] for name in ("access_log", "keepalive_timeout") if name in self._options}
        return _Connection(self, loop=self._loop, **kept)


class Runner(web.AppRunner):
    """Runs an application on a server with our errors."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            loop=made._loop,
            access_log=None,
            keepalive_timeout=75,
        )
