"""Calls of the handler as MMS makes them, with MMS's own context, without MMS."""

import json
from pathlib import Path
from typing import Any

from mms.context import Context, RequestProcessor

from image_classifier.serving import handler


def context(model_dir: Path, *headers: dict[str, str]) -> Context:
    """MMS's context for as many requests as there are headers."""
    made = Context("model", str(model_dir), {}, max(1, len(headers)), None, "1.1.11")
    made.request_processor = [RequestProcessor(given) for given in headers]
    return made


def ask(model_dir: Path, body: bytes, **headers: str) -> tuple[int, dict[str, Any], Context]:
    """One request: status, answer, context."""
    made = context(model_dir, {name.replace("_", "-"): value for name, value in headers.items()})
    (answer,) = handler.handle([{"body": body}], made) or []
    return made.get_response_status(0)[0] or 200, json.loads(answer), made
