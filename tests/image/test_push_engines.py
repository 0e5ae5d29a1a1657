"""build_and_push.sh with every builder it knows: each must push what SageMaker takes, and what Docker can run."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ways
from cloud import DOCKER_MANIFEST, DOCKERFILE, NEEDS, TOKEN, Cloud, cloud_in, make_checkout, push, remove, sentence

pytestmark = NEEDS
ENGINE = str(ways.find_engine())
IMAGE = f"push-engines-{os.getpid()}"
STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
# Podman's own limits are higher than a machine that is itself a guest may allow.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
SECRET = "RUN --mount=type=secret,id=ca_bundle grep BEGIN /run/secrets/ca_bundle\n"


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}, which .ci/run installs")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud_in(tmp_path_factory.mktemp("cloud"), "eu-west-1", "127.0.0.3") as started:
        yield started


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which podman and buildah keep their images in a folder of the test, with the base image."""
    folder = tmp_path_factory.mktemp("containers")
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
    (folder / "containers.conf").write_text(LIMITS)
    (folder / "auth.json").write_text("{}")
    variables = {
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "REGISTRY_AUTH_FILE": f"{folder}/auth.json",
    }
    base = folder / "base.tar"
    subprocess.run([ENGINE, "save", "-o", base, "debian:bookworm-slim"], check=True)
    pull = ["buildah", "pull", f"docker-archive:{base}"]
    done = subprocess.run(pull, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield variables
    subprocess.run(["buildah", "rmi", "--all", "--force"], env=os.environ | variables, capture_output=True, check=False)


def check_pushed(cloud: Cloud, image: str, output: str) -> None:
    """The registry has Docker's manifest, and Docker runs it."""
    uri = output.splitlines()[-1]
    digest, content = cloud.manifest(image, "latest")
    assert uri.endswith(digest)
    assert content["mediaType"] == DOCKER_MANIFEST
    config = cloud.folder / "docker-config"
    docker = [ENGINE, "--config", str(config)]
    subprocess.run([*docker, "login", "--username", "AWS", "--password-stdin", cloud.host], input=TOKEN, text=True)
    try:
        ran = subprocess.run([*docker, "run", "--rm", uri], capture_output=True, text=True, check=False)
        assert ran.stdout == "pushed\n", ran.stderr
    finally:
        subprocess.run([ENGINE, "image", "rm", "--force", uri], capture_output=True, check=False)


@needs("podman", "buildah")
@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_podman_and_buildah_trust_a_ca_push_dockers_manifest_and_resume(
    checkout: Path, cloud: Cloud, containers: dict[str, str], engine: str
) -> None:
    (checkout / "docker/Dockerfile").write_text(DOCKERFILE + SECRET)
    image = f"{IMAGE}/{engine}"
    changes = {"ENGINE": engine, "CA_BUNDLE": str(cloud.certificate), **containers}
    done = push(checkout, cloud, image, **changes)
    assert done.returncode == 0, done.stderr
    assert "verified: Docker manifest, linux/amd64, labels" in done.stdout
    check_pushed(cloud, image, done.stdout)
    again = push(checkout, cloud, image, **changes)
    assert "is there already, with this very image; nothing is sent" in again.stdout
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


def test_the_classic_builder_builds_without_the_mounts_it_does_not_know(checkout: Path, cloud: Cloud) -> None:
    image = f"{IMAGE}/classic"
    try:
        done = push(checkout, cloud, image, DOCKER_BUILDKIT="0")
        assert done.returncode == 0, done.stderr
        assert "Step 1/" in done.stderr
        check_pushed(cloud, image, done.stdout)
    finally:
        remove(ENGINE, IMAGE)


@pytest.mark.parametrize(
    ("line", "changes", "words"),
    [
        (
            "RUN --mount=type=bind,target=/here ls /here\n",
            {},
            "this docker has no BuildKit and the Dockerfile needs it",
        ),
        ("", {"CA_BUNDLE": __file__}, "CA_BUNDLE needs a builder with secrets"),
    ],
)
def test_what_the_classic_builder_cannot_do_is_one_sentence(
    checkout: Path, cloud: Cloud, line: str, changes: dict[str, str], words: str
) -> None:
    (checkout / "docker/Dockerfile").write_text(DOCKERFILE + line)
    done = push(checkout, cloud, IMAGE, "--build-only", DOCKER_BUILDKIT="0", **changes)
    assert words in sentence(done)
    assert "install docker's buildx plugin, or podman or buildah" in sentence(done)
