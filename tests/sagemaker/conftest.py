"""What the tests of local_sagemaker share: one server with stand-ins for `train` and `serve`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins
from started import Api, running


@pytest.fixture(scope="session")
def fake_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins.venv(tmp_path_factory.mktemp("stand-ins") / "venv")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, fake_venv: Path) -> Iterator[Api]:
    """A server that runs the stand-ins."""
    with running(tmp_path_factory.mktemp("server") / "state", fake_venv) as started:
        yield started
    assert "Traceback" not in started.log.read_text()
