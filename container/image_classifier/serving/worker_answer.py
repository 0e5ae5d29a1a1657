"""What a worker answered, as the caller gets it."""

from pathlib import Path

from aiohttp import web
from aiohttp.payload import BufferedReaderPayload

from image_classifier.serving import spool, wire
from image_classifier.serving.parts import Part


def response(answer: Part, folder: Path) -> web.Response:
    """The answer to give; its body may lie in a file of the folder."""
    headers = {"Content-Type": answer.headers.get("content-type", "application/octet-stream")}
    headers |= {"Retry-After": "1"} if answer.status == 503 else {}
    name = answer.headers.get(wire.ANSWER_FILE)
    body = BufferedReaderPayload(spool.take(folder, name), filename=None) if name else answer.body
    return web.Response(status=answer.status, body=body, headers=headers | wire.of_sagemaker(answer.headers))
