"""What MMS answered, as the caller gets it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.payload import BufferedReaderPayload

from image_classifier.errors import RequestError
from image_classifier.serving import spool, wire

UNAVAILABLE = "No worker could take the request; try again."
# MMS's own answers, said in our words
_ERRORS = {
    404: ("not_found", "There is no such model."),
    413: ("too_large", "The request or its answer is larger than the model server allows."),
    503: ("unavailable", UNAVAILABLE),
    507: ("out_of_memory", "The model ran out of memory."),
}


def translate(response: aiohttp.ClientResponse, content: bytes, folder: Path) -> web.Response:
    """Pass on what the handler said; put MMS's own errors into our form.

    Args:
        response: MMS's, with its content.
        content: the answer; where that is large, the name of its file.
        folder: that holds the file.

    Raises:
        RequestError: the answer is MMS's own, an error.
    """
    if wire.ANSWERED not in response.headers:
        if response.status == 200:  # a script that answers 200 without our handler does not exist
            raise RequestError(500, "internal_error", "The model server gave no answer.")
        # MMS says 500 where a worker died with the request in hand: another worker can take it
        status = response.status if response.status in _ERRORS else 503
        raise RequestError(status, *_ERRORS[status])
    headers = {"Content-Type": response.headers.get("Content-Type", "application/octet-stream")}
    headers |= {"Retry-After": "1"} if response.status == 503 else {}
    head = int(response.headers.get(wire.HEAD, 0))
    laid = response.headers[wire.ANSWERED] == wire.FILE
    stream = spool.take(folder, content.decode()) if laid else io.BytesIO(content)
    said = of_sagemaker(json.loads(stream.read(head))) if head else {}
    body = BufferedReaderPayload(stream, filename=None) if laid else stream.read()
    return web.Response(status=response.status, body=body, headers=headers | said)


def of_sagemaker(headers: Mapping[str, str]) -> dict[str, str]:
    """What SageMaker passes on in both directions: custom attributes, ids, targets, sessions."""
    return {name: value for name, value in headers.items() if name.lower().startswith(wire.SAGEMAKER)}
