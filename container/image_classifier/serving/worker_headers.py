"""What a worker is told of a request beside its body."""

from functools import lru_cache

from aiohttp import web

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import formats, wire
from image_classifier.serving.http_server import request_id

CUSTOM_ATTRIBUTES_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
ATTRIBUTES_LIMIT = 1024  # characters; SageMaker passes on no more


def worker_headers(request: web.Request, own_formats: bool, settings: Settings) -> dict[str, str]:
    """The headers: the options that were chosen, or for a user's script what the caller sent.

    Raises:
        RequestError: 400, 406 or 415, an option, the wanted or the given content type cannot be met.
    """
    custom = request.headers.get(CUSTOM_ATTRIBUTES_HEADER, "")
    if len(custom) > ATTRIBUTES_LIMIT:
        raise RequestError(400, "bad_option", f"{CUSTOM_ATTRIBUTES_HEADER} has over {ATTRIBUTES_LIMIT} characters.")
    accept = request.headers.get("Accept", "")
    content_type = request.headers.get("Content-Type", "")
    headers = {wire.REQUEST_ID: request_id(request)}
    if not own_formats:
        accept = settings.default_accept if accept in ("", "*/*") else accept
        given = {wire.CONTENT_TYPE: content_type, wire.ACCEPT: accept}
        return headers | wire.of_sagemaker(request.headers) | {name: value for name, value in given.items() if value}
    return headers | _options(content_type, accept, tuple(request.query.items()), custom, settings)


@lru_cache
def _options(
    content_type: str, accept: str, query: tuple[tuple[str, str], ...], custom: str, settings: Settings
) -> dict[str, str]:
    """The chosen options as headers; most requests ask for the same."""
    options = formats.choose(content_type, accept, dict(reversed(query)), custom, settings)  # the first of a name
    many = {} if options.body is formats.Body.PICTURE else {wire.MANY: "yes"}
    return {wire.OPTIONS: options.header()} | many
