"""build_and_push.sh and a training job meet at a registry: the job runs the very image whose URI the script wrote.

ECR's API is local_sagemaker's, the registry is a real one, and the image is small: an engine of Debian 12 needs minutes
to compress the product's 6 GB for a push, which would show nothing more.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from started import REGION, Api, running

import ways
from cloud import NEEDS, Cloud, known_as, make_checkout, push, remove
from desk import ask

pytestmark = NEEDS
ENGINE = str(ways.find_engine())
NAME = f"walk-{os.getpid()}"
ADDRESS = "127.0.0.4"  # the tests of the push itself have others


@dataclass(frozen=True)
class Pushed:
    """The server and the URI by digest."""

    api: Api
    uri: str


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushed]:
    """An image that is in the registry, and no longer on this machine."""
    checkout, cloud = make_checkout(tmp_path / "checkout"), Cloud(tmp_path, REGION, ADDRESS)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))  # where the script logs in
    with running(tmp_path / "state") as api, known_as(cloud.host, ADDRESS):
        cloud.api = api.url
        cloud.prepare_registry()
        cloud.start_registry()
        try:
            done = push(checkout, cloud, NAME)
            assert done.returncode == 0, done.stderr
            remove(ENGINE, NAME)
            yield Pushed(api, (checkout / ".image_uri").read_text().strip())
        finally:
            cloud.stop("registry")
            remove(ENGINE, NAME)
            shutil.rmtree(tmp_path / "storage", ignore_errors=True)


def there(uri: str) -> bool:
    return ask(ENGINE, "image", "inspect", "--format", "{{.Id}}", uri) != ""


def test_a_job_pulls_the_image_that_was_pushed_by_its_digest(pushed: Pushed) -> None:
    assert not there(pushed.uri)
    algorithm = {"TrainingImage": pushed.uri, "TrainingInputMode": "File"}
    pushed.api.train("pulled", AlgorithmSpecification=algorithm)
    job = pushed.api.ended("pulled", 120)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert there(pushed.uri)
    ask(ENGINE, "image", "rm", "--force", pushed.uri)
