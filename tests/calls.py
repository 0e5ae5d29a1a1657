"""Calls of the handler as MMS makes them, with MMS's own context, without MMS."""

import json
from pathlib import Path
from typing import Any

from mms.context import Context, RequestProcessor

from image_classifier.serving import handler, wire
from image_classifier.serving.formats import Options


def context(model_dir: Path, *headers: dict[str, str]) -> Context:
    """MMS's context for as many requests as there are headers."""
    made = Context("model", str(model_dir), {}, max(1, len(headers)), None, "1.1.11")
    made.request_processor = [RequestProcessor(given) for given in headers]
    return made


def asking(**options: Any) -> dict[str, str]:
    """The header that says what a request sends and asks for; see formats.Options."""
    return {wire.OPTIONS: Options(**options).header()}


def ask(model_dir: Path, body: bytes, /, request_id: str = "", **options: Any) -> tuple[int, dict[str, Any], Context]:
    """One request: status, answer, context."""
    made = context(model_dir, asking(**options) | {wire.REQUEST_ID: request_id})
    (answer,) = handler.handle([{"body": body}], made) or []
    return made.get_response_status(0)[0] or 200, json.loads(answer), made
