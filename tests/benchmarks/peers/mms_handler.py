"""multi-model-server's handler."""

import json
from typing import Any

from naive import Classifier

_classify: Classifier | None = None


def handle(data: Any, _context: Any) -> list[str] | None:
    global _classify
    if data is None:
        _classify = Classifier()
        return None
    assert _classify
    return [json.dumps(_classify(bytes(request["body"]))) for request in data]
