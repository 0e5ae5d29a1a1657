"""What the tensors alone do not tell about a run: written once by `train` as `run.json` beside the other results.

Rules and the report read it where it exists; a directory that AWS's Debugger wrote has none.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

FILE = "run.json"


class Phase(BaseModel):
    """One stretch of the job: reading, features, epoch, validation, test, saving. Times in Unix seconds."""

    name: str
    start: float
    end: float


class RunFacts(BaseModel):
    """Facts of one training job. Everything is optional, because a job may end at any point."""

    model_config = ConfigDict(extra="ignore")

    architecture: str = ""
    module: str = ""  # class name of what was trained: smdebug's prefix of the tensors' names
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()  # training pictures of each class
    counts: dict[str, int] = {}  # pictures of each split: train, validation, test
    duplicates: dict[str, int] = {}  # pictures of validation and test that are training pictures too; none: not counted
    test_in_validation: int = 0  # pictures of test that are validation pictures too
    left_out: dict[str, str] = {}  # pictures that could not be used, and why
    batch_size: int = 0
    steps_per_epoch: int = 0
    epochs: int = 0  # asked for
    trainable: tuple[str, ...] = ()  # parameters that learn
    frozen: tuple[str, ...] = ()  # parameters that do not
    normalized: bool = False  # batch, layer or group normalization is in what was trained
    activations: dict[str, str] = {}  # module -> class, as in {"layer1.0.relu": "ReLU"}
    device: str = ""
    cores: int = 0
    hyperparameters: dict[str, Any] = {}
    versions: dict[str, str] = {}
    phases: tuple[Phase, ...] = ()
    seconds: dict[str, float] = {}  # where the time went, by use; `job` is the whole, `decode` runs beside

    def write(self, folder: Path) -> None:
        """Write `run.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "RunFacts":
        """Read `run.json`; empty facts where there is none or it cannot be read."""
        try:
            return cls.model_validate(json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return cls()
