"""ECR on this machine, for the tests of build_and_push.sh: a real registry under ECR's name, and moto's ECR API."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from filelock import FileLock

import ways

TOOLS = ("docker-registry", "htpasswd", "openssl", "git")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
NEEDS = [
    pytest.mark.skipif(ways.find_engine() is None, reason="no container engine answers, so nothing can be pushed"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}, which .ci/run installs"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: the registry takes port 443 and a line in /etc/hosts"),
]
CAN_PUSH = not any(mark.args[0] for mark in NEEDS)
# moto's account, the token that it always gives, and the one user who is not subject to IAM in it.
ACCOUNT, TOKEN = "123456789012", "123456789012-auth-token"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image"
REGISTRY_CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
auth: {{htpasswd: {{realm: ecr, path: {folder}/htpasswd}}}}
http: {{addr: "{address}:443", tls: {{certificate: {folder}/certificate, key: {folder}/key}}}}
"""
# As our Dockerfile begins and ends, but small: what is pushed is not the point here.
DOORS = "/usr/local/bin/train /usr/local/bin/serve /usr/local/bin/python"
DOCKERFILE = f"""
ARG BASE_IMAGE=debian:bookworm-slim
ARG ACCELERATOR=cuda
FROM ${{BASE_IMAGE}} AS lane-cuda
RUN mkdir /lane
FROM lane-${{ACCELERATOR}}
RUN --mount=type=cache,target=/root/.cache/pip \\
    for door in {DOORS}; do echo '#!/bin/sh' >$door; chmod +x $door; done
COPY container /source
LABEL com.amazonaws.sagemaker.capabilities.multi-models=true \\
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version=${{VERSION}} org.opencontainers.image.revision=${{REVISION}}
CMD ["echo", "pushed"]
"""


def wait_for_port(address: str, port: int) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        assert time.monotonic() < end, f"nothing listens on {address}:{port}"
        time.sleep(0.05)


class Cloud:
    """An account with one region; each test file has its own region, and so its own registry and address."""

    def __init__(self, folder: Path, region: str, address: str, api: str = "") -> None:
        self.folder, self.region, self.address, self.api = folder, region, address, api
        self.host = f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the API, unless there is one, and the registry."""
        if not self.api:
            self._start_api()
        self._prepare_registry()
        self.start_registry()

    def _start_api(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{port}"
        moto = str(ways.ROOT / ".venv/bin/moto_server")
        self._run("moto", "127.0.0.1", port, moto, "-H", "127.0.0.1", "-p", str(port))

    def _prepare_registry(self) -> None:
        """Make what the registry needs."""
        (self.folder / "config.yml").write_text(REGISTRY_CONFIG.format(folder=self.folder, address=self.address))
        self.let_in(TOKEN)
        names = ["-subj", f"/CN={self.host}", "-addext", f"subjectAltName=DNS:{self.host}"]
        files = ["-keyout", self.folder / "key", "-out", self.certificate]
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files]
        subprocess.run(request, capture_output=True, check=True)

    def start_registry(self) -> None:
        self._run("registry", self.address, 443, "docker-registry", "serve", str(self.folder / "config.yml"))

    def stop(self, name: str) -> None:
        """End a process as a loss of power would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def let_in(self, password: str) -> None:
        """The one password that the registry takes."""
        hashed = subprocess.run(["htpasswd", "-Bbn", "AWS", password], capture_output=True, check=True)
        (self.folder / "htpasswd").write_bytes(hashed.stdout)

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate"

    def client(self, service: str) -> Any:
        """A client of the API for what the tests look up."""
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        return boto3.client(service, endpoint_url=self.api, region_name=self.region, **keys)

    @contextlib.contextmanager
    def allowing(self, *actions: str) -> Iterator[dict[str, str | None]]:
        """The environment of a user who may do these things and nothing else."""
        iam, user = self.client("iam"), f"user-{time.monotonic_ns()}"
        iam.create_user(UserName=user)
        policy = {"Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
        iam.put_user_policy(
            UserName=user, PolicyName="some", PolicyDocument=json.dumps({"Version": "2012-10-17"} | policy)
        )
        key = iam.create_access_key(UserName=user)["AccessKey"]
        self._check_after("0")
        try:
            yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        finally:
            self._check_after("inf")

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
        """The registry's answer to somebody who takes any form of manifest: its headers and its content."""
        accept = f"{DOCKER_MANIFEST}, {OCI}.index.v1+json, {OCI}.manifest.v1+json"
        login = b64encode(f"AWS:{TOKEN}".encode()).decode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"https://{self.host}/v2/{path}",
            body,
            {"Accept": accept, "Authorization": f"Basic {login}", **named},
            method=method,
        )
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.certificate))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
        with opener.open(request, timeout=30) as response:
            return response.headers, response.read()

    def manifest(self, image: str, tag: str) -> tuple[str, dict[str, Any]]:
        """A tag's digest and manifest."""
        headers, content = self.ask(f"{image}/manifests/{tag}")
        return headers["Docker-Content-Digest"], json.loads(content)

    def put(self, image: str, tag: str, manifest: Mapping[str, Any]) -> None:
        """Let a tag lead to a manifest, as any other tool might do."""
        content = json.dumps(manifest).encode()
        self.ask(f"{image}/manifests/{tag}", "PUT", content, Content_Type=manifest["mediaType"])

    def _check_after(self, count: str) -> None:
        """Let moto check permissions after so many calls."""
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.api}/moto-api/reset-auth", count.encode(), plain)
        with urllib.request.urlopen(request, timeout=30):
            pass

    def _run(self, name: str, address: str, port: int, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(words, stdout=log, stderr=log)
        wait_for_port(address, port)


@contextlib.contextmanager
def cloud_in(folder: Path, region: str, address: str, api: str = "") -> Iterator[Cloud]:
    """The cloud of one test file, with an API of its own or another's; the engine trusts any loopback certificate."""
    cloud = Cloud(folder, region, address, api)
    with known_as(cloud.host, address):
        try:
            cloud.start()
            yield cloud
        finally:
            for name in list(cloud.processes):
                cloud.stop(name)
            shutil.rmtree(folder / "storage", ignore_errors=True)


@contextlib.contextmanager
def known_as(host: str, address: str) -> Iterator[None]:
    """A line in /etc/hosts."""
    line, hosts, lock = f"{address} {host}\n", Path("/etc/hosts"), FileLock(Path(tempfile.gettempdir()) / "hosts.lock")
    with lock:
        hosts.write_text(f"{hosts.read_text().rstrip()}\n{line}")
    try:
        yield
    finally:
        with lock:
            hosts.write_text(hosts.read_text().replace(line, ""))


def make_checkout(place: Path, dockerfile: str = DOCKERFILE) -> Path:
    """A git checkout of the script and what it calls, with a small image to build."""
    shutil.copytree(ways.ROOT / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build_and_push.sh", ".dockerignore", "docker/lifecycle-policy.json", "docker/ca-bundle.apt.conf"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ways.ROOT / name, place / name)
    (place / "docker/Dockerfile").write_text(dockerfile)
    (place / "container").mkdir()
    (place / "container/program.py").write_text("print('the program')\n")
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"], ["tag", "v1.2.3"]):
        subprocess.run(["git", *identity, *words], cwd=place, check=True)
    return place


def copy_checkout(place: Path) -> Path:
    """The script, what it calls, and all that the product's image is built of; it gets a .image_uri of its own."""
    for name in ("scripts", "docker", "container"):
        shutil.copytree(ways.ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build_and_push.sh", ".dockerignore"):
        shutil.copy(ways.ROOT / name, place / name)
    return place


def environment(checkout: Path, cloud: Cloud, image: str, **changes: str | None) -> dict[str, str]:
    """The environment of a user who has AWS credentials and trusts the registry's certificate."""
    wanted: dict[str, str | None] = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PATH": f"{ways.ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "NO_PROXY": "*",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ENGINE": ways.find_engine(),
        "IMAGE": image,
        "ACCOUNT": ACCOUNT,
        "SSL_CERT_FILE": str(cloud.certificate),
        "AWS_ENDPOINT_URL": cloud.api,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": str(checkout / "no-config"),
        "AWS_REGION": cloud.region,
        "AWS_MAX_ATTEMPTS": "1",
        "DOCKER_CONFIG": str(checkout.parent / "docker-config"),
        **changes,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def push(
    checkout: Path, cloud: Cloud, image: str, *words: str, **changes: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run the script."""
    script = checkout / "build_and_push.sh"
    variables = environment(checkout, cloud, image, **changes)
    return subprocess.run([script, *words], env=variables, cwd="/", capture_output=True, text=True, check=False)


def sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """The last line of a failed run: the one sentence for the user."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("build_and_push: ")
    return line


def remove(engine: str, image: str) -> None:
    """Remove what a test left in the engine: all images with this word in a name."""
    form = "{{.Repository}}:{{.Tag}}"
    listing = subprocess.run([engine, "image", "ls", "--format", form], capture_output=True, text=True, check=True)
    names = [name for name in listing.stdout.split() if image in name]
    subprocess.run([engine, "image", "rm", "--force", *names], capture_output=True, check=False)
