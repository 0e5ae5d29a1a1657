"""What every part of the server works with."""

from dataclasses import dataclass
from pathlib import Path

from local_sagemaker.aws import Objects
from local_sagemaker.machines import Machines
from local_sagemaker.store import Store


@dataclass(frozen=True)
class Platform:
    """The server's own place, its memory, its objects and its machines."""

    folder: Path
    store: Store
    objects: Objects
    machines: Machines

    def place(self, kind: str, name: str) -> Path:
        """A folder for the files of one job or endpoint."""
        return self.folder / kind / name
