"""Prints what this image holds, as JSON: Python packages, Debian packages, jars. Runs inside the image; see sbom.py."""

import hashlib
import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

DEBIAN_FIELDS = ("name", "version", "architecture", "source")


def python_packages() -> list[dict[str, str]]:
    """Installed distributions, with their licence where they name one by its SPDX expression."""
    found = (each.metadata for each in metadata.distributions())
    return [
        {"name": each["Name"], "version": each["Version"], "license": str(each.json.get("license_expression", ""))}
        for each in found
    ]


def debian_packages() -> list[dict[str, str]]:
    """What dpkg has installed."""
    form = "${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\n"
    rows = subprocess.check_output(["dpkg-query", "-W", "-f", form], text=True).splitlines()
    return [dict(zip(DEBIAN_FIELDS, row.split("\t"), strict=True)) for row in rows]


def jars(folder: Path) -> list[dict[str, str]]:
    """Every jar under a folder and what Maven wrote into it; without that, its file name."""
    return [describe(jar) for jar in sorted(folder.rglob("*.jar"))]


def describe(jar: Path) -> dict[str, str]:
    """Name, version and digest of one jar."""
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    pom = own_pom(jar)
    return {
        "group": pom.get("groupId", ""),
        "name": pom.get("artifactId", jar.stem),
        "version": pom.get("version", ""),
        "sha256": digest,
        "path": str(jar),
    }


def own_pom(jar: Path) -> dict[str, str]:
    """What Maven wrote about this jar itself; a jar may hold copies of others."""
    with zipfile.ZipFile(jar) as content:
        texts = [content.read(name).decode() for name in content.namelist() if name.endswith("/pom.properties")]
    poms = (dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in texts)
    return next((pom for pom in poms if jar.name.startswith(f"{pom['artifactId']}-{pom['version']}")), {})


if __name__ == "__main__":
    json.dump(
        {"python": python_packages(), "debian": debian_packages(), "jars": jars(Path(sys.prefix))},
        sys.stdout,
    )
