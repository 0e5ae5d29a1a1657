"""The steps of build_and_push.sh, in their order; its --help has the settings."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from desk import DeskError, Stopped, raise_on_signals
from publishing import content, ecr, engines
from publishing.ecr import MOVING_TAG, Ecr
from publishing.engines import Build, Engine
from publishing.registry import Manifest, Repository, content_problem, form_problem
from publishing.settings import Settings
from publishing.steps import TRIES, show
from ways import ROOT

URI_FILE = Path(".image_uri")
# Both doors are there, and all that they import can be loaded.
PROGRAMS = "image_classifier.training.entrypoint, image_classifier.serving.entrypoint"
DOORS = 'for door in train serve; do command -v $door >/dev/null || { echo "no $door on PATH"; exit 1; }; done'
START = ("sh", "-c", f'{DOORS}; python -c "import {PROGRAMS}"')
VERSION, REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"
CAPABILITIES = "com.amazonaws.sagemaker.capabilities"
# Serverless endpoints take no larger image.
SERVERLESS_LIMIT = 10 * 10**9


@dataclass(frozen=True)
class Product:
    """What is built: the image, its tag, and the engine that builds it."""

    settings: Settings
    engine: Engine

    @property
    def name(self) -> str:
        """The image's name on this machine."""
        return f"{self.settings.image}:{MOVING_TAG}"

    @cached_property
    def tag(self) -> str:
        """The tag that stays: given, or made of what is built."""
        chosen = (self.settings.base_image, self.settings.accelerator, self.settings.platform)
        return self.settings.tag or content.describe(ROOT, chosen)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Labels that the image must have: which build it is, and what SageMaker may do with it."""
        return {
            VERSION: self.tag,
            REVISION: content.git(ROOT, "rev-parse", "HEAD") or "unknown",
            f"{CAPABILITIES}.multi-models": "true",
            f"{CAPABILITIES}.accept-bind-to-port": "true",
        }

    def build(self) -> Build:
        """All that the engine must know to build it."""
        base = {"BASE_IMAGE": self.settings.base_image} if self.settings.base_image else {}
        versions = {"VERSION": self.labels[VERSION], "REVISION": self.labels[REVISION]}
        arguments = {**base, "ACCELERATOR": self.settings.accelerator, **versions}
        labels = {name: self.labels[name] for name in (VERSION, REVISION)}
        trust = self.settings.ca_bundle
        # apt and pip trust them during the build; a secret is in no layer.
        secrets = {"ca_bundle": trust, "ca_bundle_apt": Path("docker/ca-bundle.apt.conf")} if trust else {}
        return Build(self.name, self.settings.platform, arguments, labels, secrets)


def send(product: Product, repository: Repository) -> Manifest:
    """Push the image under the tag that stays, unless it is there; the manifest that the registry has then."""
    identity = product.engine.identity(product.name)
    place = f"{repository.host}/{repository.name}:{product.tag}"
    manifest = repository.manifest(product.tag)
    if manifest and manifest.is_of(identity):
        print(f"{place} is there already, with this very image; nothing is sent")
        return manifest
    if manifest:
        raise DeskError(
            f"the tag {product.tag} exists in the registry with another image ({manifest.digest}); "
            "deploy that one by its digest, or give this build its own tag with TAG=name"
        )
    for step in product.engine.push(product.name, place):
        show(f"pushing {place}", step, TRIES)
    manifest = repository.manifest(product.tag)
    if not manifest:
        raise DeskError(f"{place} was pushed and is not in the registry; run it again")
    return manifest


def verify(product: Product, repository: Repository, manifest: Manifest) -> None:
    """Read the image back and start it by its digest; DeskError when SageMaker could not use it."""
    uri = f"{repository.host}/{repository.name}@{manifest.digest}"
    problem = next(problems(product, repository, manifest), None)
    if problem:
        remove = f"aws ecr batch-delete-image --repository-name {repository.name} --image-ids imageTag={product.tag}"
        raise DeskError(f"{uri} cannot be used: {problem}; remove it ({remove}) and push again, or with ENGINE=buildah")
    product.engine.run(uri, product.settings.platform, START)
    size = sum(manifest.blobs.values())
    parts = f"{len(manifest.fields['layers'])} layers, {size / 1e9:.2f} GB compressed"
    print(f"verified: Docker manifest, {product.settings.platform}, labels, {parts}, starts")
    if size > SERVERLESS_LIMIT:
        print("this is more than the 10 GB that a serverless endpoint takes; other endpoints take it")


def problems(product: Product, repository: Repository, manifest: Manifest) -> Iterator[str]:
    """What is wrong with an image in the registry: form first, then content, then completeness."""
    yield from form_problem(manifest)
    if not manifest.is_of(product.engine.identity(product.name)):
        yield "it is not the image that was built here"
    yield from content_problem(repository.config(manifest), product.settings.platform, product.labels)
    for digest, size in manifest.blobs.items():
        found = repository.size(digest)
        if found != size:
            yield f"{digest} has {found or 'no'} bytes in the registry and not {size}"


def move(repository: Repository, manifest: Manifest) -> None:
    """Let the moving tag lead to the image; in a repository of yours it may not be allowed to move."""
    current = repository.manifest(MOVING_TAG)
    if current and current.digest == manifest.digest:
        return
    try:
        repository.tag(manifest, MOVING_TAG)
    except DeskError as error:
        print(f"the tag {MOVING_TAG} stays where it is: {error}")


def push(product: Product, registry: Ecr) -> None:
    """Log in, make the repository when it is missing, send, verify, and hand out the URI by digest."""
    settings = product.settings
    password = registry.password()
    product.engine.login(registry.host, password)
    if not registry.has(settings.image):
        print(f"creating the ECR repository {settings.image}", flush=True)
        registry.create(settings.image, settings.kms_key)
    repository = Repository(registry.host, settings.image, password, settings.ca_bundle)
    manifest = send(product, repository)
    verify(product, repository, manifest)
    move(repository, manifest)
    uri = f"{registry.host}/{settings.image}@{manifest.digest}"
    URI_FILE.write_text(f"{uri}\n")
    print(uri)


def rehearse(product: Product, registry: Ecr | None) -> None:
    """Say what would be done."""
    print(f"engine: {product.engine}; platform: {product.settings.platform}; tag: {product.tag}")
    print(f"would build: {shlex.join(product.engine.build(product.build()).argv)}")
    if registry:
        place = f"{registry.host}/{product.settings.image}"
        print(f"would log in to {registry.host}, and create the repository {product.settings.image} if it is missing")
        print(f"would push {place}:{product.tag}, verify it, and let {place}:{MOVING_TAG} lead to it")
        print(f"would write the URI by digest to {URI_FILE}")


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; build_and_push.sh has the help."""
    parser = argparse.ArgumentParser(prog="build_and_push", add_help=False, allow_abbrev=False)
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise DeskError(f"unknown option {unknown[0]}; see build_and_push.sh --help")
    return options


def deliver(argv: Sequence[str]) -> None:
    """Build, and push unless told otherwise."""
    options = options_of(argv)
    settings = Settings.from_environment(os.environ)
    product = Product(settings, engines.find_engine(settings.engine))
    registry = None if options.build_only else ecr.find(settings)
    if options.dry_run:
        return rehearse(product, registry)
    show("building the image", product.engine.build(product.build()))
    print(f"built {product.name} ({product.tag})", flush=True)
    if registry:
        push(product, registry)
    return None


def main() -> int:
    """Do it all; a failure is one sentence."""
    raise_on_signals()
    os.chdir(ROOT)
    try:
        deliver(sys.argv[1:])
    except (DeskError, OSError) as error:
        print(f"build_and_push: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print("build_and_push: stopped; run it again, what has arrived is not sent again", file=sys.stderr)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
