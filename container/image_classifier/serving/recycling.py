"""Closes the way to a model for a moment, for what no request may be lost with: a worker that has grown is replaced."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_classifier.serving.gate import Gate, Patience
from image_classifier.serving.mms import ModelServer

if TYPE_CHECKING:
    from image_classifier.serving.front_door import Model

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0


@dataclass
class Recycling:
    """The workers that are to be replaced.

    Args:
        uploads: the way of large bodies, to all models.
        patience: with requests at work.
        grown: by process id, those that said so.
    """

    server: ModelServer
    uploads: Gate
    patience: Patience
    grown: dict[int, "Model"] = field(default_factory=dict)

    async def watch(self) -> None:
        """Replace them, beside whatever else is watched: it may have to be patient."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.replace_grown()

    async def replace_grown(self) -> None:
        """Replace a worker that said it has grown, if one did, while no request is at work: none is lost with it."""
        if not self.grown:
            return
        pid = next(iter(self.grown))
        model = self.grown.pop(pid)
        try:
            async with self.emptied(model):
                logger.info("The worker %d has grown beyond CLASSIFIER_WORKER_MAX_MB and is replaced.", pid)
                await self.server.replace_worker(model.name, pid)
                self.grown.pop(pid, None)  # it said so more than once
        except TimeoutError:
            self.grown[pid] = model  # after others

    @asynccontextmanager
    async def emptied(self, model: "Model") -> AsyncIterator[None]:
        """No request is at work in the block, and who comes waits.

        Raises:
            TimeoutError: one has been for too long, now or a short while ago.
        """
        patience = self.patience.begin()
        try:
            async with self.uploads.emptied(patience), model.gate.emptied(patience):
                yield
        except TimeoutError:
            self.patience.was_too_short()
            raise
