"""The registry's own API: reads back what was pushed, and refuses what SageMaker would refuse.

Source: https://distribution.github.io/distribution/spec/api/, which ECR speaks.
"""

import hashlib
import json
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from desk import DeskError
from publishing.failures import cause_of

DOCKER = "application/vnd.docker."
MANIFEST = f"{DOCKER}distribution.manifest.v2+json"
CONFIG = f"{DOCKER}container.image.v1+json"
LAYER = f"{DOCKER}image.rootfs.diff.tar.gzip"
# All forms are asked for, so that the wrong one is seen and named.
ANY_MANIFEST = (
    MANIFEST,
    f"{DOCKER}distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
TIMEOUT_S = 60


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry holds it, byte for byte."""

    content: bytes

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What it says."""
        return dict(json.loads(self.content))

    @property
    def digest(self) -> str:
        """The name that no other image can have."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def blobs(self) -> Mapping[str, int]:
        """Digest and size in bytes of the configuration and the layers."""
        return {part["digest"]: part["size"] for part in (self.fields["config"], *self.fields["layers"])}

    def is_of(self, identity: str) -> bool:
        """Whether it is the image that an engine knows by this digest."""
        return identity in (self.digest, self.fields.get("config", {}).get("digest"))


@dataclass(frozen=True)
class Repository:
    """One repository of a registry; HTTPS, with ECR's user and a token."""

    host: str
    name: str
    password: str
    ca_bundle: Path | None = None

    def manifest(self, tag: str) -> Manifest | None:
        """The manifest of a tag, in whatever form it has; None when there is no such tag."""
        content = self._ask("GET", f"manifests/{tag}", {"Accept": ", ".join(ANY_MANIFEST)})
        return None if content is None else Manifest(content[1])

    def config(self, manifest: Manifest) -> Mapping[str, Any]:
        """An image's configuration: platform and labels."""
        answer = self._ask("GET", f"blobs/{manifest.fields['config']['digest']}")
        if answer is None:
            raise DeskError(f"{self.name}@{manifest.digest} has no configuration in the registry; push it again")
        return dict(json.loads(answer[1]))

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None when it is not there."""
        answer = self._ask("HEAD", f"blobs/{digest}")
        return None if answer is None else int(answer[0].get("Content-Length", 0))

    def tag(self, manifest: Manifest, tag: str) -> None:
        """Let a tag lead to a manifest that is there already."""
        self._ask("PUT", f"manifests/{tag}", {"Content-Type": manifest.fields["mediaType"]}, manifest.content)

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[Mapping[str, str], bytes] | None:
        url = f"https://{self.host}/v2/{self.name}/{path}"
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)
        # ECR sends readers of blobs on to S3, which refuses a second kind of authorization.
        login = b64encode(f"AWS:{self.password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {login}")
        try:
            trust = ssl.create_default_context(cafile=self.ca_bundle)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trust) as answer:
                return answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise self._failed(path, f"status {error.code}: {error.read().decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            raise self._failed(path, str(error)) from error

    def _failed(self, path: str, text: str) -> DeskError:
        cause = cause_of(text)
        return DeskError(f"asking {self.host} for {path} failed: {cause.sentence if cause else text.strip()}")


def form_problem(manifest: Manifest) -> Iterator[str]:
    """What in the manifest's form SageMaker refuses: nothing when it is Docker's, for one platform."""
    fields = manifest.fields
    if fields.get("mediaType") != MANIFEST:
        yield f"its manifest is {fields.get('mediaType', 'of no media type')}, and SageMaker takes only {MANIFEST}"
        return
    types = {fields["config"]["mediaType"], *(layer["mediaType"] for layer in fields["layers"])}
    yield from (f"it holds {kind}, which SageMaker does not take" for kind in sorted(types - {CONFIG, LAYER}))
    if not fields["layers"]:
        yield "it has no layers"


def content_problem(config: Mapping[str, Any], platform: str, labels: Mapping[str, str]) -> Iterator[str]:
    """What in an image's configuration is not as it was built: platform or labels."""
    found = f"{config.get('os')}/{config.get('architecture')}"
    # Builders may add the variant that goes without saying, as in linux/arm64/v8.
    if platform not in (found, f"{found}/{config.get('variant')}"):
        yield f"it is for {found} and not for {platform}"
    given = config.get("config", {}).get("Labels") or {}
    for name, value in labels.items():
        if given.get(name) != value:
            yield f"its label {name} is {given.get(name)!r} and not {value!r}"
