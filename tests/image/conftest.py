"""What the tests of the two doors share: pictures, and one model trained through `train`."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

import doors
from sample_pictures import make_pictures

SPLITS = {"train": 20, "valid": 5, "test": 5}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of a parallel run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def pictures(shared: Path) -> Path:
    """Six classes of drawn things in train/, valid/ and test/."""
    folder = shared / "pictures"
    with FileLock(shared / "pictures.lock"):
        if not folder.exists():
            make_pictures(folder, SPLITS)
    return folder


@pytest.fixture(scope="session")
def trained(shared: Path, pictures: Path) -> doors.Finished:
    """A job of three epochs, run once; its model is what the tests of `serve` serve."""
    base, outcome = shared / "trained", shared / "trained.json"
    with FileLock(shared / "trained.lock"):
        if not outcome.exists():
            chosen = {**doors.QUICK, "epochs": "3", "image_size": "64", "learning_rate": "0.002", "compile": "auto"}
            done = doors.train(base, chosen, {"training": pictures})
            outcome.write_text(json.dumps([done.code, done.log]))
    code, log = json.loads(outcome.read_text())
    assert code == 0, log
    return doors.Finished(code, log, base)
