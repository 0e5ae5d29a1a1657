"""Pictures that cannot be used: named, counted, and left out up to a limit."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from image_classifier.errors import UserError
from image_classifier.training.distributed import World

logger = logging.getLogger(__name__)

SHOWN = 10  # names in the error message


@dataclass
class Rejects:
    """The pictures of a job that could not be decoded. Decoding threads share it."""

    limit: int  # max_bad_pictures
    smallest: int | None = None  # pictures of the smallest split, of which one must be left; None: not known
    needed: Mapping[str, frozenset[Path]] = field(default_factory=dict)  # of each of these one must be left, too
    found: dict[Path, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def allowed(self) -> int:
        """How many may be left out."""
        return self.limit if self.smallest is None else min(self.limit, self.smallest - 1)

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
        if count > self.allowed:
            raise UserError(self._too_many())
        logger.warning("Left out %s: %s (%d of at most %d).", short(path), reason, count, self.allowed)

    def share(self, world: World) -> None:
        """Know what the other processes of the job have left out.

        Raises:
            UserError: together it is more than the limit, or all pictures of a class; in all processes.
        """
        for others in world.gather(self.found):
            self.found = others | self.found
        if len(self.found) > self.allowed:
            raise UserError(self._too_many())
        for name, paths in self.needed.items():
            if paths <= self.found.keys():
                raise UserError(
                    f"None of the {len(paths)} {name} can be used: {self._listing(paths)}. "
                    "Replace them, or remove the class from all splits."
                )

    def named(self) -> dict[str, str]:
        """Each picture and why it is left out."""
        return {short(path): reason for path, reason in sorted(self.found.items())}

    def _too_many(self) -> str:
        count = len(self.found)
        noun = "picture" if count == 1 else "pictures"
        by_choice = count > self.limit
        why = f"max_bad_pictures={self.limit}" if by_choice else f"the smallest split has no more than {self.smallest}"
        remedy = "Remove or replace them, or raise the limit." if by_choice else "Replace them."
        return f"{count} {noun} cannot be used, and {why}: {self._listing(frozenset(self.found))}. {remedy}"

    def _listing(self, paths: frozenset[Path]) -> str:
        lines = [f"{short(path)} ({self.found[path]})" for path in sorted(paths)]
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        return f"{'; '.join(lines[:SHOWN])}{more}"


def short(path: Path) -> str:
    """Split, class and file: what a person needs to find it."""
    return "/".join(path.parts[-3:])
