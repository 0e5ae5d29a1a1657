"""The SDK's own local mode runs the image: a second reading of SageMaker's contract, made by its makers.

It has no tuning jobs, no checkpoints, no Debugger and no update of an endpoint: those are local_sagemaker's alone.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk_commands import IMAGE, QUICK
from started import KEYS

import ways
from desk import ask
from sample_pictures import CLASSES, make_pictures

ENGINE = ways.find_engine()
COMPOSE = shutil.which("docker-compose") or (ENGINE and ask(ENGINE, "compose", "version"))
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(ENGINE is None, reason="no container engine answers: local mode is about containers"),
    pytest.mark.skipif(not COMPOSE, reason="needs docker compose, which .ci/run installs"),
]


@pytest.fixture
def containers() -> Iterator[None]:
    """What local mode leaves behind when it is done: stopped containers on a network of its own."""
    yield
    network = "sagemaker-local"
    left = ask(str(ENGINE), "ps", "--all", "--quiet", "--filter", f"network={network}").split()
    ask(str(ENGINE), "rm", "--force", *left)
    ask(str(ENGINE), "network", "rm", network)


@pytest.mark.usefixtures("containers")
def test_local_mode_trains_on_two_hosts_deploys_predicts_and_transforms(tmp_path: Path) -> None:
    make_pictures(tmp_path / "data", {"train": 6, "valid": 2, "test": 2})
    shutil.copytree(tmp_path / "data" / "test" / next(iter(CLASSES)), tmp_path / "batch")
    script = Path(__file__).with_name("local_mode_calls.py")
    argv = [sys.executable, "-W", "ignore", script, tmp_path, IMAGE, json.dumps(QUICK)]
    # docker-compose is a Python program with a path of its own.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**inherited, **KEYS, "SAGEMAKER_SUPPRESS_V2_WARNING": "1", "HOME": str(tmp_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = json.loads(done.stdout.splitlines()[-1])["topk_labels"]
    assert len(labels) == 5
    assert set(labels) <= {name.partition(".")[2] for name in CLASSES}
    pictures = sorted(path.name for path in (tmp_path / "batch").iterdir())
    answers = {file.name: json.loads(file.read_text()) for file in (tmp_path / "answers").rglob("*.out")}
    assert sorted(answers) == [f"{name}.out" for name in pictures]
    assert all(len(one["topk_labels"]) == 5 for one in answers.values())
    with tarfile.open(tmp_path / "results" / "model.tar.gz") as tar:
        assert {"model.safetensors", "config.json", "labels.json"} <= {Path(name).name for name in tar.getnames()}
