"""What the tests of local_sagemaker share: servers with stand-ins for `train` and `serve`, and with the real ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins
from desk_commands import Quick
from started import Api, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The walk takes longest, so it begins: the others run beside it."""
    items.sort(key=lambda item: item.path.name != "test_walk.py")


@pytest.fixture(scope="session")
def fake_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins.venv(tmp_path_factory.mktemp("stand-ins") / "venv")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, fake_venv: Path) -> Iterator[Api]:
    """A server that runs the stand-ins."""
    with running(tmp_path_factory.mktemp("server") / "state", fake_venv) as started:
        yield started
    assert "Traceback" not in started.log.read_text()


@pytest.fixture(scope="module")
def desk(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Quick:
    """The desk's commands against that server."""
    return Quick(api, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `real` keeps what it knows."""
    return tmp_path_factory.mktemp("real") / "state"


@pytest.fixture(scope="module")
def real(state: Path) -> Iterator[Api]:
    """A server that runs the image, or without an engine the same commands from .venv."""
    with running(state) as started:
        yield started
