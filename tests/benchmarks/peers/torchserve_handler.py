"""TorchServe's handler."""

import json
from typing import Any

from naive import Classifier

_classify: Classifier | None = None


def handle(data: Any, _context: Any) -> list[str] | None:
    global _classify
    if data is None or _classify is None:
        _classify = _classify or Classifier()
    return None if data is None else [json.dumps(_classify(bytes(request["body"]))) for request in data]
