"""BentoML."""

from pathlib import Path
from typing import Any

import bentoml
from naive import Classifier


@bentoml.service(workers="cpu_count")
class Classify:
    def __init__(self) -> None:
        self.classify = Classifier()

    @bentoml.api(route="/invocations")
    def invocations(self, body: Path) -> dict[str, Any]:
        return self.classify(body.read_bytes())
