"""aiohttp's server with our errors: what is not even HTTP is answered in JSON too, and fills no log."""

import uuid
from typing import Any

from aiohttp import web

from image_classifier.errors import RequestError
from image_classifier.serving.formats import encode_error

REQUEST_ID_HEADER = "X-Request-Id"
INFERENCE_ID_HEADER = "X-Amzn-SageMaker-Inference-Id"  # SageMaker passes on no other id
_ID = web.RequestKey("id", str)


def request_id(request: web.Request) -> str:
    """The caller's id when it is a plain one, else a new one; the same for the whole request."""
    if _ID not in request:
        given = request.headers.get(REQUEST_ID_HEADER) or request.headers.get(INFERENCE_ID_HEADER) or ""
        plain = 0 < len(given) <= 64 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
        request[_ID] = given if plain else uuid.uuid4().hex
    return request[_ID]


def error_response(error: RequestError, request_id: str) -> web.Response:
    """An error in the one form that all errors have."""
    headers = {REQUEST_ID_HEADER: request_id}
    if error.status == 503:
        headers["Retry-After"] = "1"
    body = encode_error(error.code, error.message, request_id)
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


class _Connection(web.RequestHandler):
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
        response = error_response(error, uuid.uuid4().hex)
        response.force_close()
        return response


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
