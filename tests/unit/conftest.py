"""Fixtures of the unit tests."""

import asyncio

import pytest

from house import Run, Talk, house


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Open the front door, talk to it, and close it."""

    def go(talk: Talk, own_formats: bool = True, **environ: str) -> None:
        async def visit() -> None:
            async with house(tmp_path_factory.mktemp("h"), own_formats, environ) as opened:
                await talk(opened)

        asyncio.run(visit())

    return go
