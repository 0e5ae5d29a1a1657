"""The hosts of one training job, each with a base directory, a log and checkpoints of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker import layout
from local_sagemaker.checkpoints import Mirror
from local_sagemaker.follower import Follower
from local_sagemaker.machines import Machine
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record


@dataclass
class Host:
    """One host; its machine is that of the last attempt."""

    name: str
    base: Path
    follower: Follower
    mirror: Mirror | None
    machine: Machine | None = None

    def prepare(self, platform: Platform, request: Record, names: Sequence[str]) -> None:
        """A fresh base directory with the data and the checkpoints in it."""
        layout.lay_out(self.base, request, self.name, names, movable=not platform.machines.in_image)
        layout.download(platform.objects, self.base, request)
        if self.mirror:
            self.mirror.restore()

    def read(self, ended: bool = False) -> None:
        """Pass on what is new in the log."""
        self.follower.read(ended)

    def sync(self) -> None:
        """Bring the checkpoints in S3 up to date."""
        if self.mirror:
            self.mirror.sync()

    @property
    def ended(self) -> bool:
        """Whether its machine has."""
        return self.machine is None or self.machine.ended()

    @property
    def exit_code(self) -> int:
        """Of its machine; 0 while it runs."""
        return self.machine.exit_code if self.machine and self.ended else 0

    def tell(self) -> None:
        """Ask it to stop."""
        if self.machine:
            self.machine.tell()

    @property
    def has_reason(self) -> bool:
        """Whether it has written a failure file."""
        return (self.base / "output" / "failure").exists()

    def said(self) -> str:
        """Its failure file, else the last lines of its log."""
        if self.has_reason:
            return (self.base / "output" / "failure").read_text(errors="replace")
        tail = self.follower.log.read_text(errors="replace").splitlines()[-5:]
        return "the last lines of its log: " + " | ".join(tail)
