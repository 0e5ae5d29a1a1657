"""build_and_push.sh unchanged, against a registry with ECR's name on this machine and moto's ECR API."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ways

ENGINE = ways.find_engine()
TOOLS = ("docker-registry", "htpasswd", "openssl", "git")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]

pytestmark = [
    pytest.mark.skipif(ENGINE is None, reason="no container engine answers, so nothing can be pushed"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}, which .ci/run installs"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: the registry takes port 443 and a line in /etc/hosts"),
]

# moto's account and its fixed token.
ACCOUNT, TOKEN = "123456789012", "123456789012-auth-token"
REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
IMAGE = f"push-test-{os.getpid()}"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
REGISTRY_CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
auth: {{htpasswd: {{realm: ecr, path: {folder}/htpasswd}}}}
http: {{addr: "127.0.0.1:443", tls: {{certificate: {folder}/certificate, key: {folder}/key}}}}
"""
# As our Dockerfile begins, but small: what is pushed is not the point here.
SMALL_IMAGE = 'ARG BASE_IMAGE=debian:bookworm-slim\nFROM ${BASE_IMAGE}\nCMD ["echo", "pushed"]\n'


def wait_for_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < end, f"nothing listens on port {port}"
        time.sleep(0.1)


@contextlib.contextmanager
def server(port: int, log: Path, *words: str) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            wait_for_port(port)
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def known_as_ecr() -> Iterator[None]:
    """The registry's name leads to this machine; the engine trusts any certificate of the loopback address."""
    hosts = Path("/etc/hosts")
    before = hosts.read_text()
    hosts.write_text(f"{before.rstrip()}\n127.0.0.1 {REGISTRY}\n")
    try:
        yield
    finally:
        hosts.write_text(before)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ECR: a registry behind TLS and a password, and the API; its address."""
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "config.yml").write_text(REGISTRY_CONFIG.format(folder=folder))
    hashed = subprocess.run(["htpasswd", "-Bbn", "AWS", TOKEN], capture_output=True, check=True)
    (folder / "htpasswd").write_bytes(hashed.stdout)
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={REGISTRY}"]
    files = ["-keyout", folder / "key", "-out", folder / "certificate"]
    subprocess.run([*certificate, *files], capture_output=True, check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    moto = str(ways.ROOT / ".venv/bin/moto_server")
    with (
        known_as_ecr(),
        server(443, folder / "registry.log", "docker-registry", "serve", str(folder / "config.yml")),
        server(port, folder / "moto.log", moto, "-H", "127.0.0.1", "-p", str(port)),
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A git checkout of the script and what it calls, with a small image to build."""
    place = tmp_path / "checkout"
    shutil.copytree(ways.ROOT / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ways.ROOT / "build_and_push.sh", place)
    (place / "docker").mkdir()
    (place / "docker/Dockerfile").write_text(SMALL_IMAGE)
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"], ["tag", "v1.2.3"]):
        subprocess.run(["git", *identity, *words], cwd=place, check=True)
    yield place
    subprocess.run([str(ENGINE), "image", "rm", "--force", f"{IMAGE}:latest"], capture_output=True, check=False)


def push(checkout: Path, cloud: str, *words: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run the script with the environment of a user who has AWS credentials."""
    environment: dict[str, str | None] = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PATH": f"{ways.ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "ENGINE": ENGINE,
        "IMAGE": IMAGE,
        "AWS_ENDPOINT_URL": cloud,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": str(checkout / "no-config"),
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "DOCKER_CONFIG": str(checkout.parent / "docker-config"),
        **changes,
    }
    kept = {name: value for name, value in environment.items() if value is not None}
    script = checkout / "build_and_push.sh"
    return subprocess.run([script, *words], env=kept, cwd="/", capture_output=True, text=True, check=False)


def manifest(tag: str) -> tuple[str, dict[str, Any]]:
    """A tag's digest and manifest, as the registry gives them to somebody who takes any form."""
    accept = f"{DOCKER_MANIFEST}, application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    login = b64encode(f"AWS:{TOKEN}".encode()).decode()
    request = urllib.request.Request(
        f"https://127.0.0.1/v2/{IMAGE}/manifests/{tag}",
        headers={"Accept": accept, "Authorization": f"Basic {login}"},
    )
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    with opener.open(request, timeout=30) as response:
        return response.headers["Docker-Content-Digest"], json.load(response)


def test_a_push_ends_with_a_uri_that_can_be_run(checkout: Path, cloud: str) -> None:
    done = push(checkout, cloud)
    assert done.returncode == 0, done.stderr
    assert f"creating the ECR repository {IMAGE}" in done.stdout
    uri = done.stdout.splitlines()[-1]
    assert (checkout / ".image_uri").read_text() == f"{uri}\n"

    digest, content = manifest("v1.2.3")
    assert uri == f"{REGISTRY}/{IMAGE}@{digest}"
    assert manifest("latest")[0] == digest
    # CreateModel refuses OCI's media types.
    assert content["mediaType"] == DOCKER_MANIFEST

    names = [f"{REGISTRY}/{IMAGE}:{tag}" for tag in ("v1.2.3", "latest")]
    subprocess.run([str(ENGINE), "image", "rm", *names, f"{IMAGE}:latest"], capture_output=True, check=True)
    command = [str(ENGINE), "--config", str(checkout.parent / "docker-config"), "run", "--rm", uri]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "pushed\n"
    subprocess.run([str(ENGINE), "image", "rm", "--force", uri], capture_output=True, check=True)

    again = push(checkout, cloud, TAG="second")
    assert again.returncode == 0, again.stderr
    assert "creating" not in again.stdout
    assert manifest("second")[0] == manifest("latest")[0]
    names = [f"{REGISTRY}/{IMAGE}:{tag}" for tag in ("second", "latest")]
    subprocess.run([str(ENGINE), "image", "rm", *names], capture_output=True, check=True)


def test_build_only_needs_no_aws(checkout: Path) -> None:
    done = push(checkout, "http://127.0.0.1:9", "--build-only", AWS_ACCESS_KEY_ID=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"built {IMAGE}:latest (v1.2.3)"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"AWS_REGION": None}, "no AWS region is set; set REGION, or run: aws configure set region us-east-1"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_EC2_METADATA_DISABLED": "true"}, "check your AWS credentials"),
        ({"PATH": "/usr/bin:/bin"}, "the AWS CLI is not on PATH; install it (pip install awscli)"),
        ({"ACCOUNT": "210987654321"}, "logging in to 210987654321.dkr.ecr.us-east-1.amazonaws.com failed"),
    ],
)
def test_a_failure_is_one_sentence_with_the_remedy(
    checkout: Path, cloud: str, changes: dict[str, str | None], sentence: str
) -> None:
    done = push(checkout, cloud, **changes)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("build_and_push: ")
    assert sentence in done.stderr.splitlines()[-1]
    assert not (checkout / ".image_uri").exists()
