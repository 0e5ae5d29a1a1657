"""build_and_push.sh and a training job meet at a registry: the job pulls the very image whose URI the script wrote.

ECR's API is local_sagemaker's, the registry is a real one, and the image is small: what is pushed is not the point
here. The walk pushes the product's own, where CI asks for it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from started import Api, running

import ways
from cloud import NEEDS, cloud_in, make_checkout, push, remove
from desk import ask

pytestmark = NEEDS
ENGINE = str(ways.find_engine())
NAME = f"pulled-{os.getpid()}"
REGION, ADDRESS = "eu-west-2", "127.0.0.4"  # other tests that push have others


@dataclass(frozen=True)
class Pushed:
    """The server and the URI by digest."""

    api: Api
    uri: str


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushed]:
    """An image that is in the registry, and no longer on this machine."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))  # where the script logs in
    checkout = make_checkout(tmp_path / "checkout")
    with running(tmp_path / "state") as api, cloud_in(tmp_path, REGION, ADDRESS, api.url) as cloud:
        done = push(checkout, cloud, NAME)
        remove(ENGINE, NAME)
        assert done.returncode == 0, done.stderr
        yield Pushed(api, (checkout / ".image_uri").read_text().strip())
        remove(ENGINE, NAME)


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
