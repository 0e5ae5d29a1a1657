"""Fixtures of the unit tests."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from house import Run, Talk, house


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A worker whose model cannot be loaded ends its logging, a job sets its level; here the process lives on."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    logging.disable(logging.NOTSET)


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Open the front door, talk to it, and close it."""

    def go(talk: Talk, own_formats: bool = True, **environ: str) -> None:
        async def visit() -> None:
            async with house(tmp_path_factory.mktemp("h"), own_formats, environ) as opened:
                await talk(opened)

        asyncio.run(visit())

    return go
