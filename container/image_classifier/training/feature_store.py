"""Features kept on disk, so that a restart or a tuning trial on the same data and backbone starts from them.

Kept in `features/` of the checkpoint directory, which SageMaker mirrors to S3; a `features` channel may hold the
files of an earlier job. Safetensors files, named by everything that decides their content.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from image_classifier.training import reading
from image_classifier.training.checkpoint import digest

logger = logging.getLogger(__name__)

_OTHERS = 3  # files that this job does not use, the newest: as many as the job before has made


def key(backbone: Mapping[str, torch.Tensor], paths: Sequence[Path], *facts: object) -> str:
    """Sixteen characters that differ when the weights, the pictures or anything else that matters does.

    Args:
        backbone: state dictionary of what makes the features.
        paths: the pictures, in order; their content counts, not their names.
        facts: whatever else decides the features: preprocessing, views, versions.
    """
    content = hashlib.blake2b(digest(backbone).encode(), digest_size=8)
    for part in reading.digests(paths):
        content.update(part)
    content.update(repr(facts).encode())
    return content.hexdigest()


@dataclass(frozen=True)
class FeatureStore:
    """Where features are kept, and where else they may be found."""

    folder: Path
    channel: Path | None = None
    used: set[str] = field(default_factory=set)  # names that this job has loaded or saved

    def tidy(self) -> None:
        """Remove what a job that was killed left half written."""
        for path in self.folder.glob("*.partial"):
            with suppress(OSError):
                path.unlink()

    def load(self, name: str) -> dict[str, torch.Tensor] | None:
        """The tensors kept under a name; None when there are none. A damaged file is none, and is said."""
        self.used.add(name)
        for folder in (self.folder, self.channel):
            path = folder / f"{name}.safetensors" if folder else None
            if path is None or not path.exists():
                continue
            try:
                return load_file(path)
            except (SafetensorError, OSError) as error:
                logger.warning("The features in %s are damaged (%s); they are computed again.", path, error)
        return None

    def save(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keep tensors under a name, and no more than a few that this job does not use.

        A disk that is full or read-only is said, and costs only the next start.
        """
        self.used.add(name)
        path = self.folder / f"{name}.safetensors"
        partial = path.with_suffix(".partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, partial)
            os.replace(partial, path)
            self._drop_old()
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                partial.unlink()
            logger.warning("The features could not be kept in %s (%s); a restart computes them again.", path, error)

    def _drop_old(self) -> None:
        others = [path for path in self.folder.glob("*.safetensors") if path.stem not in self.used]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[_OTHERS:]:
            path.unlink(missing_ok=True)
