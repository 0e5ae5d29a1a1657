"""build_and_push.sh unchanged, against a registry with ECR's name on this machine and moto's ECR API."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ways
from cloud import DOCKER_MANIFEST, NEEDS, Cloud, cloud_in, environment, make_checkout, push, remove

pytestmark = NEEDS
ENGINE = str(ways.find_engine())
IMAGE = f"push-test-{os.getpid()}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_in(tmp_path_factory.mktemp("cloud"), "us-east-1", "127.0.0.1") as started:
        yield started


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    yield f"{IMAGE}/{tmp_path.name.removeprefix('test_').replace('_', '-').strip('-')}"
    remove(ENGINE, IMAGE)


@dataclass(frozen=True)
class Pushed:
    """A first push of a new image, and the words that the engine was called with."""

    checkout: Path
    image: str
    output: str
    words: str


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Pushed:
    folder = tmp_path_factory.mktemp("pushed")
    checkout, log, watched = make_checkout(folder / "checkout"), folder / "words", folder / "docker"
    watched.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {ENGINE} "$@"\n')
    watched.chmod(0o755)
    image = f"{IMAGE}/new"
    done = push(checkout, cloud, image, ENGINE=str(watched), ACCOUNT=None)
    assert done.returncode == 0, done.stderr
    return Pushed(checkout, image, done.stdout, log.read_text() + done.stdout + done.stderr)


def tag_of(output: str) -> str:
    """The tag in the line that says what was built."""
    (line,) = [line for line in output.splitlines() if line.startswith("built ")]
    return line.split("(")[1].rstrip(")")


def test_a_push_ends_with_a_uri_that_can_be_run(pushed: Pushed, cloud: Cloud) -> None:
    uri = pushed.output.splitlines()[-1]
    assert (pushed.checkout / ".image_uri").read_text() == f"{uri}\n"
    digest, content = cloud.manifest(pushed.image, tag_of(pushed.output))
    layers = len(content["layers"])
    assert f"verified: Docker manifest, linux/amd64, labels, {layers} layers" in pushed.output
    assert uri == f"{cloud.host}/{pushed.image}@{digest}"
    assert cloud.manifest(pushed.image, "latest")[0] == digest
    # CreateModel refuses OCI's media types.
    assert content["mediaType"] == DOCKER_MANIFEST

    remove(ENGINE, IMAGE)
    command = [ENGINE, "--config", str(pushed.checkout.parent / "docker-config"), "run", "--rm", uri]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "pushed\n"
    subprocess.run([ENGINE, "image", "rm", "--force", uri], capture_output=True, check=True)


def test_a_repository_that_is_made_keeps_tags_scans_encrypts_and_removes_only_the_untagged(
    pushed: Pushed, cloud: Cloud
) -> None:
    assert f"creating the ECR repository {pushed.image}" in pushed.output
    ecr = cloud.client("ecr")
    (made,) = ecr.describe_repositories(repositoryNames=[pushed.image])["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert made["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "latest"}]
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"] == {"encryptionType": "AES256"}
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=pushed.image)["lifecyclePolicyText"])["rules"]
    # An endpoint that grows after a year needs its image again: whatever has a tag stays.
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]


def test_the_token_is_on_no_command_line(pushed: Pushed) -> None:
    assert "login --username AWS --password-stdin" in pushed.words
    assert "auth-token" not in pushed.words


def test_a_repository_that_was_there_is_left_as_it_is(checkout: Path, cloud: Cloud, image: str) -> None:
    ecr = cloud.client("ecr")
    before = ecr.create_repository(repositoryName=image)["repository"]
    done = push(checkout, cloud, image)
    assert done.returncode == 0, done.stderr
    assert "creating" not in done.stdout
    assert ecr.describe_repositories(repositoryNames=[image])["repositories"] == [before]
    with pytest.raises(ecr.exceptions.LifecyclePolicyNotFoundException):
        ecr.get_lifecycle_policy(repositoryName=image)


def test_an_aws_cli_that_is_too_old_for_tags_that_stay_makes_a_repository_without_and_says_so(
    checkout: Path, cloud: Cloud, image: str
) -> None:
    old = checkout.parent / "old"
    old.mkdir()
    refusal = "Unknown options: --image-tag-mutability-exclusion-filters, filterType=WILDCARD,filter=latest"
    real = ways.ROOT / ".venv/bin/aws"
    (old / "aws").write_text(
        f'#!/bin/sh\ncase "$*" in *exclusion*) echo "{refusal}" >&2; exit 252;; esac\nexec {real} "$@"\n'
    )
    (old / "aws").chmod(0o755)
    path = os.pathsep.join([str(old), environment(checkout, cloud, image)["PATH"]])
    done = push(checkout, cloud, image, PATH=path)
    assert done.returncode == 0, done.stderr
    assert "this AWS CLI cannot fix all tags but `latest`" in done.stdout
    (made,) = cloud.client("ecr").describe_repositories(repositoryNames=[image])["repositories"]
    assert made["imageTagMutability"] == "MUTABLE"


def test_the_same_content_is_not_sent_again_and_other_content_has_another_tag(
    checkout: Path, cloud: Cloud, image: str
) -> None:
    first = push(checkout, cloud, image)
    again = push(checkout, cloud, image)
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert "is there already, with this very image; nothing is sent" in again.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]

    (checkout / "container/program.py").write_text("print('another program')\n")
    other = push(checkout, cloud, image)
    assert other.returncode == 0, other.stderr
    assert "nothing is sent" not in other.stdout
    tags = [tag_of(done.stdout) for done in (first, other)]
    assert tags[0].startswith("v1.2.3-")
    assert tags[1].startswith("v1.2.3-dirty-")
    assert cloud.manifest(image, "latest")[0] == cloud.manifest(image, tags[1])[0] != cloud.manifest(image, tags[0])[0]


def test_build_only_needs_no_aws(checkout: Path, cloud: Cloud, image: str) -> None:
    done = push(checkout, cloud, image, "--build-only", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"built {image}:latest (v1.2.3-")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(checkout: Path, cloud: Cloud, image: str) -> None:
    done = push(checkout, cloud, image, "--dry-run", TAG="mine")
    assert done.returncode == 0, done.stderr
    assert f"would push {cloud.host}/{image}:mine" in done.stdout
    known = cloud.client("ecr").describe_repositories()["repositories"]
    assert image not in [repository["repositoryName"] for repository in known]
    assert not (checkout / ".image_uri").exists()
    inspect = [ENGINE, "image", "inspect", f"{image}:latest"]
    assert subprocess.run(inspect, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("cn-north-1", "dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "dkr.ecr.us-gov-west-1.amazonaws.com"),
        ("eusc-de-east-1", "dkr.ecr.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_other_partitions_and_other_accounts_have_their_own_registries(
    checkout: Path, cloud: Cloud, image: str, region: str, host: str
) -> None:
    done = push(checkout, cloud, image, "--dry-run", REGION=region, ACCOUNT="210987654321")
    assert f"would log in to 210987654321.{host}," in done.stdout


def test_a_mirrors_base_image_a_proxy_and_a_ca_reach_the_build_and_stay_out_of_the_image(
    checkout: Path, cloud: Cloud, image: str
) -> None:
    secret = "--mount=type=secret,id=ca_bundle"
    look = f'RUN {secret} grep -c BEGIN /run/secrets/ca_bundle && echo "{image} by $HTTPS_PROXY"\n'
    dockerfile = checkout / "docker/Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("COPY", f"{look}COPY"))
    mirrored = f"mirror.invalid/{image}:base"
    subprocess.run([ENGINE, "tag", "debian:bookworm-slim", mirrored], check=True)
    proxy = "http://somebody:password@proxy.invalid:3128"
    try:
        done = push(
            checkout,
            cloud,
            image,
            "--build-only",
            BASE_IMAGE=mirrored,
            HTTPS_PROXY=proxy,
            CA_BUNDLE=str(cloud.certificate),
        )
    finally:
        subprocess.run([ENGINE, "image", "rm", mirrored], capture_output=True, check=True)
    assert done.returncode == 0, done.stderr
    assert f"{image} by {proxy}" in done.stderr
    history = subprocess.run([ENGINE, "history", "--no-trunc", f"{image}:latest"], capture_output=True, text=True)
    assert "somebody" not in history.stdout
    list_secrets = [ENGINE, "run", "--rm", f"{image}:latest", "sh", "-c", "cat /run/secrets/* | wc -c"]
    assert subprocess.run(list_secrets, capture_output=True, text=True).stdout.strip() == "0"
