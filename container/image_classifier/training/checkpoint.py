"""Checkpoints: written whole or not at all, found again after any kind of stop.

Every file carries the fingerprint of the job's settings, weights and data, so jobs that share a directory do not mix.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

State = dict[str, Any]
KEEP = 2  # the newest, and the one before in case the newest is damaged


def fingerprint(**settings: Any) -> str:
    """Eight characters that differ when the settings do."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """Sixteen characters that differ when weights do."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in state.items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one job in a directory."""

    folder: Path
    key: str
    keep: int = KEEP  # of the newest

    def save(self, state: State, step: int) -> Path:
        """Write a checkpoint and drop the oldest.

        Args:
            state: tensors, numbers, strings, lists and dictionaries of them.
            step: optimizer steps taken; part of the file's name.

        Raises:
            OSError: the disk is full; names the file, of which nothing is left.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"checkpoint-{self.key}-{step:09d}.pt"
        partial = path.with_suffix(".partial")  # a name that `_files` ignores
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # where writing failed, torch only says that its archive is broken
            partial.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise OSError(cause.errno, cause.strerror, str(path)) from None
        os.replace(partial, path)
        if len(self._files()) == 1:
            self._say_size(path.stat().st_size)
        for old in [*self._files()[self.keep :], *self.folder.glob(f"checkpoint-{self.key}-*.partial")]:
            old.unlink(missing_ok=True)  # a partial one: the job was killed while it wrote
        return path

    def _say_size(self, size: int) -> None:
        logger.info(
            "A checkpoint has %.1f MB; the newest %d are kept, %.1f MB in %s.",
            size / 1e6,
            self.keep,
            self.keep * size / 1e6,
            self.folder,
        )

    def latest(self) -> State | None:
        """The newest checkpoint that can be read; says which ones could not."""
        for path in self._files():
            try:
                state: State = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises many kinds for a damaged file
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                logger.warning("Checkpoint %s is damaged (%s); trying the one before.", path.name, reason)
                continue
            logger.info("Resuming from checkpoint %s.", path.name)
            return state
        others = len(list(self.folder.glob("checkpoint-*.pt"))) if self.folder.is_dir() else 0
        if self._files():
            logger.warning("No checkpoint can be read: training starts anew.")
        elif others:
            told = "No checkpoint of this job: the %d in %s are of other settings, weights or data."
            logger.info(told, others, self.folder)
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"checkpoint-{self.key}-*.pt"), reverse=True) if self.folder.is_dir() else []
