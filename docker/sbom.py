"""Writes an image's software bill of materials, CycloneDX 1.6 in JSON: `sbom.py ENGINE IMAGE FILE`.

A file beside the image and not an attestation in it: that would make an OCI index, which SageMaker refuses.
The same image gives the same file.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

INVENTORY = Path(__file__).with_name("inventory.py")
VERSION = SchemaVersion.V1_6


def ask(*words: str, given: bytes | None = None) -> Any:
    """What an engine command prints, read as JSON."""
    return json.loads(subprocess.run(words, input=given, stdout=subprocess.PIPE, check=True).stdout)


def bill(image: Mapping[str, Any], name: str, inventory: Mapping[str, Any]) -> Bom:
    """The bill of an image.

    Args:
        image: what `docker image inspect` says.
        name: the image's name.
        inventory: what inventory.py prints.
    """
    labels = image["Config"]["Labels"]
    version = labels["org.opencontainers.image.version"]
    described = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref=image["Id"])
    metadata = BomMetaData(component=described, timestamp=datetime.fromisoformat(image["Created"]))
    serial = uuid.uuid5(uuid.NAMESPACE_OID, image["Id"])
    components = [*_python(inventory["python"]), *_debian(inventory["debian"]), *_jars(inventory["jars"])]
    bom = Bom(metadata=metadata, serial_number=serial, components=components)
    bom.register_dependency(described, components)
    return bom


def _python(rows: Iterable[Mapping[str, str]]) -> Iterator[Component]:
    licenses = LicenseFactory()
    for row in rows:
        named = [licenses.make_from_string(row["license"])] if row["license"] else []
        yield _library(row, PackageURL("pypi", None, canonicalize_name(row["name"]), row["version"]), licenses=named)


def _debian(rows: Iterable[Mapping[str, str]]) -> Iterator[Component]:
    for row in rows:
        qualifiers = {"arch": row["architecture"], "distro": "debian-12"}
        source = Property(name="debian:source", value=row["source"])
        yield _library(row, PackageURL("deb", "debian", row["name"], row["version"], qualifiers), properties=[source])


def _jars(rows: Iterable[Mapping[str, str]]) -> Iterator[Component]:
    for row in rows:
        url = PackageURL("maven", row["group"], row["name"], row["version"]) if row["group"] else None
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=row["sha256"])]
        path = Property(name="path", value=row["path"])
        yield _library(row, url, group=row["group"] or None, hashes=hashes, properties=[path])


def _library(row: Mapping[str, str], url: PackageURL | None, **more: Any) -> Component:
    reference = str(url) if url else row["path"]
    return Component(name=row["name"], version=row["version"] or None, purl=url, bom_ref=reference, **more)


def write(engine: str, image: str, file: Path) -> None:
    """Ask the engine what the image holds and write its bill."""
    (description,) = ask(engine, "image", "inspect", image)
    run = (engine, "run", "--rm", "--interactive", "--network", "none", image, "python", "-")
    inventory = ask(*run, given=INVENTORY.read_bytes())
    text = make_outputter(bill(description, image, inventory), OutputFormat.JSON, VERSION).output_as_string(indent=1)
    if error := JsonStrictValidator(VERSION).validate_str(text):
        sys.exit(f"The bill of {image} is not valid CycloneDX: {error}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
    print(
        f"{file}: {len(inventory['python'])} Python packages, {len(inventory['debian'])} of Debian, "
        f"{len(inventory['jars'])} jars"
    )


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
