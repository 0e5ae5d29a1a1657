"""Pictures that cannot be used: named, counted, and left out up to a limit."""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from image_classifier.errors import UserError
from image_classifier.training.distributed import World

logger = logging.getLogger(__name__)

SHOWN = 10  # names in the error message


@dataclass
class Rejects:
    """The pictures of a job that could not be decoded. Decoding threads share it."""

    limit: int
    found: dict[Path, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, path: Path, reason: str) -> None:
        """Note a picture that is left out.

        Raises:
            UserError: there are more than the limit; names them.
        """
        with self._lock:
            if path in self.found:
                return
            self.found[path] = reason
            count = len(self.found)
        if count > self.limit:
            raise UserError(self._listing())
        logger.warning("Left out %s: %s (%d of at most %d).", short(path), reason, count, self.limit)

    def share(self, world: World) -> None:
        """Know what the other processes of the job have left out.

        Raises:
            UserError: together it is more than the limit; in all processes.
        """
        for others in world.gather(self.found):
            self.found = others | self.found
        if len(self.found) > self.limit:
            raise UserError(self._listing())

    def _listing(self) -> str:
        lines = [f"{short(path)} ({reason})" for path, reason in sorted(self.found.items())]
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        noun = "picture" if len(lines) == 1 else "pictures"
        return (
            f"{len(lines)} {noun} cannot be used, and max_bad_pictures={self.limit}: {'; '.join(lines[:SHOWN])}{more}. "
            "Remove or replace them, or raise the limit."
        )


def short(path: Path) -> str:
    """Split, class and file: what a person needs to find it."""
    return "/".join(path.parts[-3:])
