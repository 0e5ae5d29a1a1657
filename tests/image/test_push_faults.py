"""build_and_push.sh when something is wrong: one sentence with the remedy, and nothing handed out."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ways
from cloud import DOCKERFILE, NEEDS, OCI, TOKEN, Cloud, cloud_in, environment, make_checkout, push, remove, sentence

pytestmark = NEEDS
ENGINE = str(ways.find_engine())
IMAGE = f"push-faults-{os.getpid()}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_in(tmp_path_factory.mktemp("cloud"), "us-east-2", "127.0.0.2") as started:
        yield started


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    yield f"{IMAGE}/{tmp_path.name.removeprefix('test_').replace('_', '-').strip('-')}"
    remove(ENGINE, IMAGE)


@pytest.fixture(autouse=True)
def nothing_handed_out(checkout: Path) -> Iterator[None]:
    """A run that failed leaves no URI that a script could deploy."""
    yield
    assert not (checkout / ".image_uri").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_REGION": None}, "no AWS region is set; set REGION, or run: aws configure set region us-east-1"),
        ({"REGION": "us-east"}, "REGION=us-east cannot be used; it must be of the form eu-west-1"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_EC2_METADATA_DISABLED": "true", "ACCOUNT": None},
            "check your AWS credentials",
        ),
        ({"AWS_PROFILE": "nobody", "ACCOUNT": None}, "check your AWS credentials"),
        ({"PATH": "/usr/bin:/bin"}, "the AWS CLI is not on PATH; install it (pip install awscli)"),
        (
            {"AWS_ENDPOINT_URL": "http://nowhere.invalid", "ACCOUNT": None},
            "an address does not answer; check REGION and ACCOUNT",
        ),
        ({"ENGINE": "/nowhere"}, "ENGINE=/nowhere does not answer; start Docker, or name its client"),
        ({"ENGINE": "none"}, "no container engine answers; start Docker, or name its client"),
        ({"PYTHON": "/nowhere"}, "/nowhere cannot be used; name Python 3.11 or newer with PYTHON=path"),
        ({"PLATFORM": "linux/amd64,linux/arm64"}, "of the form linux/amd64, and one at a time"),
        ({"TAG": "not a tag"}, "TAG=not a tag cannot be used"),
        ({"CA_BUNDLE": "/nowhere"}, "CA_BUNDLE=/nowhere is not a file"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    checkout: Path, cloud: Cloud, image: str, changes: dict[str, str | None], words: str
) -> None:
    done = push(checkout, cloud, image, **changes)
    assert words in sentence(done)
    assert "built " not in done.stdout


def test_a_registry_of_another_account_that_is_not_there_is_an_address_to_check(
    checkout: Path, cloud: Cloud, image: str
) -> None:
    said = sentence(push(checkout, cloud, image, ACCOUNT="210987654321"))
    assert "logging in to 210987654321.dkr.ecr.us-east-2.amazonaws.com failed: an address does not answer" in said


def test_credentials_that_the_registry_refuses_are_named(checkout: Path, cloud: Cloud, image: str) -> None:
    cloud.let_in("another password")
    try:
        said = sentence(push(checkout, cloud, image))
    finally:
        cloud.let_in(TOKEN)
    assert f"logging in to {cloud.host} failed: access was denied; the AWS credentials must belong to REGION" in said


@pytest.mark.parametrize("missing", ["ecr:GetAuthorizationToken", "ecr:CreateRepository"])
def test_a_permission_that_is_missing_is_named(checkout: Path, cloud: Cloud, image: str, missing: str) -> None:
    needed = {"sts:GetCallerIdentity", "ecr:GetAuthorizationToken", "ecr:DescribeRepositories", "ecr:CreateRepository"}
    with cloud.allowing(*needed - {missing}) as keys:
        said = sentence(push(checkout, cloud, image, **keys))
    assert said.endswith(f"no permission: the AWS credentials need the IAM action {missing}")


def test_a_full_disk_is_said_to_be_full(checkout: Path, cloud: Cloud, image: str) -> None:
    # A container's shared memory is a disk of 64 MB.
    fill = f"RUN echo {image} && head -c 100M /dev/zero >/dev/shm/filler\n"
    (checkout / "docker/Dockerfile").write_text(DOCKERFILE + fill)
    said = sentence(push(checkout, cloud, image))
    assert "building the image failed: the disk is full; free some space" in said


def test_a_tag_that_leads_to_another_image_is_not_moved(checkout: Path, cloud: Cloud, image: str) -> None:
    assert push(checkout, cloud, image, TAG="mine").returncode == 0
    (checkout / ".image_uri").unlink()
    before = cloud.manifest(image, "mine")[0]
    (checkout / "container/program.py").write_text("print('another program')\n")
    said = sentence(push(checkout, cloud, image, TAG="mine"))
    assert f"the tag mine exists in the registry with another image ({before})" in said
    assert "give this build its own tag with TAG=name" in said
    assert cloud.manifest(image, "mine")[0] == cloud.manifest(image, "latest")[0] == before


def test_an_oci_manifest_is_refused_as_sagemaker_would(checkout: Path, cloud: Cloud, image: str) -> None:
    assert push(checkout, cloud, image, TAG="mine").returncode == 0
    (checkout / ".image_uri").unlink()
    _, content = cloud.manifest(image, "mine")
    content["mediaType"] = f"{OCI}.manifest.v1+json"
    content["config"]["mediaType"] = f"{OCI}.config.v1+json"
    for layer in content["layers"]:
        layer["mediaType"] = f"{OCI}.layer.v1.tar+gzip"
    cloud.put(image, "mine", content)
    said = sentence(push(checkout, cloud, image, TAG="mine"))
    assert f"cannot be used: its manifest is {OCI}.manifest.v1+json, and SageMaker takes only" in said
    assert f"aws ecr batch-delete-image --repository-name {image} --image-ids imageTag=mine" in said


def test_an_image_that_does_not_start_is_refused_and_latest_does_not_move(
    checkout: Path, cloud: Cloud, image: str
) -> None:
    assert push(checkout, cloud, image).returncode == 0
    (checkout / ".image_uri").unlink()
    before = cloud.manifest(image, "latest")[0]
    broken = "RUN printf '#!/bin/sh\\necho no module named torch >&2; exit 1' >/usr/local/bin/python\n"
    (checkout / "docker/Dockerfile").write_text(DOCKERFILE + broken)
    said = sentence(push(checkout, cloud, image))
    assert said.startswith(f"build_and_push: {cloud.host}/{image}@sha256:")
    assert "does not start here (no module named torch); see what is wrong with: " in said
    assert cloud.manifest(image, "latest")[0] == before


@pytest.fixture
def large(checkout: Path) -> Path:
    """An image whose push takes a while."""
    dockerfile = DOCKERFILE + f"RUN echo {time.time_ns()} && head -c 40M /dev/urandom >/large\n"
    (checkout / "docker/Dockerfile").write_text(dockerfile)
    return checkout


def wait_for_upload(cloud: Cloud, image: str, size: int = 4_000_000) -> None:
    """Wait until the registry holds some of a layer that is being sent."""
    uploads = cloud.folder / f"storage/docker/registry/v2/repositories/{image}/_uploads"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if sum(file.stat().st_size for file in uploads.rglob("data")) > size:
                return
        except FileNotFoundError:
            pass  # An upload that ended between the two looks.
        time.sleep(0.02)
    pytest.fail("nothing was sent")


def start(checkout: Path, cloud: Cloud, image: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    variables = environment(checkout, cloud, image)
    return subprocess.Popen([checkout / "build_and_push.sh"], env=variables, stdout=pipe, stderr=pipe, text=True)


def test_a_registry_that_dies_in_the_middle_of_a_push_and_comes_back_gets_the_whole_image(
    large: Path, cloud: Cloud, image: str
) -> None:
    running = start(large, cloud, image)
    wait_for_upload(cloud, image)
    cloud.stop("registry")
    time.sleep(1)
    cloud.start_registry()
    output, errors = running.communicate(timeout=240)
    assert running.returncode == 0, errors
    assert output.splitlines()[-1].endswith(cloud.manifest(image, "latest")[0])
    (large / ".image_uri").unlink()


def test_a_push_that_is_stopped_goes_on_when_it_is_run_again(large: Path, cloud: Cloud, image: str) -> None:
    running = start(large, cloud, image)
    wait_for_upload(cloud, image)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1].endswith("stopped; run it again, what has arrived is not sent again")
    assert not (large / ".image_uri").exists()
    again = push(large, cloud, image)
    assert again.returncode == 0, again.stderr
    assert "Layer already exists" in again.stderr
    (large / ".image_uri").unlink()
