"""The container engines that can build and push: Docker with and without BuildKit, Podman, Buildah.

SageMaker takes one kind of image: a Docker manifest (version 2, schema 2) for one platform. Each engine has
its own words for that.
"""

import os
import re
import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import desk
from desk import DeskError
from publishing.content import DOCKERFILE
from publishing.steps import Step, StepFailed, ask, show

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
BETTER_BUILDER = "install docker's buildx plugin, or podman or buildah and name it with ENGINE"


@dataclass(frozen=True)
class Build:
    """What is built: under which name, for which platform, with which build arguments and secret files."""

    name: str
    platform: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)

    def flags(self) -> Iterator[str]:
        """The flags that mean the same to all builders; a proxy's address may hold a password, so only its name."""
        yield from ("--platform", self.platform, "--tag", self.name)
        for name, value in self.arguments.items():
            yield from ("--build-arg", f"{name}={value}")
        for proxy in filter(os.environ.get, PROXIES):
            yield from ("--build-arg", proxy)
        for name, file in self.secrets.items():
            yield from ("--secret", f"id={name},src={file}")


@dataclass(frozen=True)
class Engine(ABC):
    """A client on this machine; what they all say alike is here, in Docker's words."""

    client: str

    def __str__(self) -> str:
        return self.client

    @abstractmethod
    def build(self, wanted: Build) -> Step:
        """The command that builds an image; it runs at the root of the checkout."""

    @abstractmethod
    def push(self, name: str, remote: str) -> tuple[Step, ...]:
        """The commands that push an image of this machine to a place in a registry."""

    def identity(self, name: str) -> str:
        """The digest by which the engine knows an image: that of its configuration, or of its manifest."""
        return self._digest("image", "inspect", "--format", "{{.Id}}", name)

    def login(self, host: str, password: str) -> None:
        """Log in to a registry; other users of the machine could see a password on a command line."""
        argv = (self.client, "login", "--username", "AWS", "--password-stdin", host)
        ask(f"logging in to {host}", Step(argv, password))

    def run(self, uri: str, platform: str, words: tuple[str, ...]) -> None:
        """Run words in an image of a registry, without a network."""
        argv = (self.client, "run", "--rm", "--network", "none", "--platform", platform, uri, *words)
        self._start(uri, argv)

    def _start(self, uri: str, argv: tuple[str, ...]) -> None:
        """Run a command in the image; what a program prints says nothing of engines or registries."""
        try:
            show("starting it", Step(argv))
        except StepFailed as failed:
            line = failed.output.strip().splitlines()[-1:] or ["it printed nothing"]
            again = shlex.join(argv)
            raise DeskError(
                f"{uri} does not start here ({line[0].strip()}); see what is wrong with: {again}"
            ) from failed

    def _digest(self, *words: str) -> str:
        return f"sha256:{ask('looking at the image', Step((self.client, *words))).removeprefix('sha256:')}"


@dataclass(frozen=True)
class Docker(Engine):
    """Docker with BuildKit, built in (18.09 to 22) or as buildx."""

    buildx: bool = False

    def __str__(self) -> str:
        return f"{self.client} ({'buildx' if self.buildx else 'BuildKit'})"

    def build(self, wanted: Build) -> Step:
        """`docker build`, told to write Docker's media types and no attestation, which would need an index."""
        plain = ("--provenance=false", "--sbom=false", "--output", "type=docker,oci-mediatypes=false")
        argv = (self.client, "build", *wanted.flags(), *(plain if self.buildx else ()), "-f", str(DOCKERFILE), ".")
        return Step(argv, environment={"DOCKER_BUILDKIT": "1"}, building=True)

    def push(self, name: str, remote: str) -> tuple[Step, ...]:
        """Docker pushes only what bears the registry's name."""
        return Step((self.client, "tag", name, remote)), Step((self.client, "push", remote))


@dataclass(frozen=True)
class ClassicDocker(Docker):
    """Docker without BuildKit: its builder knows no mounts."""

    def __str__(self) -> str:
        return f"{self.client} (the classic builder)"

    def build(self, wanted: Build) -> Step:
        """`docker build` with a Dockerfile without mounts, which here only save time."""
        if wanted.secrets:
            raise DeskError(f"CA_BUNDLE needs a builder with secrets; {BETTER_BUILDER}")
        argv = (self.client, "build", *wanted.flags(), "-f", "-", ".")
        return Step(argv, without_mounts(DOCKERFILE.read_text()), {"DOCKER_BUILDKIT": "0"}, building=True)


@dataclass(frozen=True)
class Podman(Engine):
    """Podman: writes OCI's media types unless told otherwise."""

    def build(self, wanted: Build) -> Step:
        """`podman build`; --layers keeps a cache, in which older versions overlook that a label's ARG has changed."""
        labels = [word for name, value in wanted.labels.items() for word in ("--label", f"{name}={value}")]
        flags = ("--format", "docker", "--layers", *wanted.flags(), *labels, "-f", str(DOCKERFILE))
        return Step((self.client, "build", *flags, "."), building=True)

    def push(self, name: str, remote: str) -> tuple[Step, ...]:
        """`podman push`; v2s2 is Docker's manifest, version 2, schema 2."""
        return (Step((self.client, "push", "--format", "v2s2", name, f"docker://{remote}")),)


@dataclass(frozen=True)
class Buildah(Podman):
    """Buildah: like Podman, but words run in a container that is made first."""

    def identity(self, name: str) -> str:
        """The digest of the image's configuration."""
        return self._digest("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)

    def run(self, uri: str, platform: str, words: tuple[str, ...]) -> None:
        """Run words in a container made of an image of a registry."""
        made = ask(f"pulling {uri}", Step((self.client, "from", "--platform", platform, uri)))
        try:
            self._start(uri, (self.client, "run", made, "--", *words))
        finally:
            desk.ask(self.client, "rm", made)


def without_mounts(dockerfile: str) -> str:
    """A Dockerfile without the mounts that a build can do without; DeskError when it has others."""
    kinds = set(re.findall(r"--mount=type=(\w+)", dockerfile))
    if kinds - {"cache", "secret"}:
        raise DeskError(f"this docker has no BuildKit and the Dockerfile needs it; {BETTER_BUILDER}")
    return re.sub(r"--mount=\S+\s*(\\\n\s*)?", "", dockerfile)


def find_engine(named: str) -> Engine:
    """The engine to use: the one named, else the first on PATH that answers; BuildKit before the others."""
    classic: Engine | None = None
    for client in [named] if named else on_path("docker", "podman", "buildah"):
        engine = engine_of(client)
        if engine and not isinstance(engine, ClassicDocker):
            return engine
        classic = classic or engine
    if classic:
        return classic
    who = f"ENGINE={named} does not answer" if named and named != "none" else "no container engine answers"
    raise DeskError(f"{who}; start Docker, or name its client, podman's or buildah's with ENGINE=path")


def on_path(*names: str) -> list[str]:
    """The programs of these names in all folders of PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = (shutil.which(name, path=folder) for name in names for folder in folders)
    return [program for program in found if program]


def engine_of(client: str) -> Engine | None:
    """What kind of engine a client is, when it answers. Podman may go by Docker's name."""
    version = desk.ask(client, "--version").lower()
    if "buildah" in version:
        return Buildah(client)
    if "podman" in version:
        return Podman(client)
    if not desk.ask(client, "info", "--format", "{{.ServerVersion}}"):
        return None
    # A client of Docker 23 or newer that has no buildx refuses even to help.
    usage = "" if os.environ.get("DOCKER_BUILDKIT") == "0" else desk.ask(client, "build", "--help")
    return Docker(client, "--provenance" in usage) if usage else ClassicDocker(client)
