"""The files that go into the image, and a tag that changes when they do."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

DOCKERFILE = Path("docker/Dockerfile")


@dataclass(frozen=True)
class Ignore:
    """The rules of .dockerignore, as the builders read them: the last one that matches a path decides.

    A rule also matches what lies below it. Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
    """

    rules: tuple[tuple[str, bool], ...]

    @classmethod
    def parse(cls, text: str) -> "Ignore":
        """Read the lines of the file; `!` takes back an earlier rule."""
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return cls(tuple((line.lstrip("!").strip().strip("/"), not line.startswith("!")) for line in lines))

    def ignores(self, path: str) -> bool:
        """Whether the file or folder at this path, with forward slashes, stays out of the build."""
        parts = path.split("/")
        ways = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        ignored = False
        for rule, verdict in self.rules:
            if any(re.fullmatch(expression(rule), way) for way in ways):
                ignored = verdict
        return ignored

    def may_hold_wanted(self, folder: str) -> bool:
        """Whether something in an ignored folder can be wanted after all: spares a walk through .venv."""
        starts = (rule.split("*")[0] for rule, verdict in self.rules if not verdict)
        return any(f"{folder}/".startswith(start) or start.startswith(f"{folder}/") for start in starts)


def expression(rule: str) -> str:
    """A rule as a regular expression: `**` is any number of folders, `*` stays in one."""
    words = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", rule))


def context(root: Path) -> Iterator[str]:
    """Paths, relative to root, of the files that a builder may copy into the image."""
    listing = root / ".dockerignore"
    ignore = Ignore.parse(listing.read_text() if listing.exists() else "")
    for place, folders, files in os.walk(root):
        inside = os.path.relpath(place, root).replace(os.sep, "/")
        paths = {name: name if inside == "." else f"{inside}/{name}" for name in (*folders, *files)}
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [
            name for name in folders if not ignore.ignores(paths[name]) or ignore.may_hold_wanted(paths[name])
        ]
        yield from (paths[name] for name in (*files, *links) if not ignore.ignores(paths[name]))


def fingerprint(root: Path, arguments: Iterable[str]) -> str:
    """Twelve hexadecimal digits of everything that decides what is built: files, their x bit, the arguments."""
    whole = hashlib.sha256("\0".join(arguments).encode())
    for path in sorted({*context(root), DOCKERFILE.as_posix()}):
        whole.update(f"\0{path}\0".encode() + state(root / path))
    return whole.hexdigest()[:12]


def state(file: Path) -> bytes:
    """What of a file gets into an image: a link's target, or the content and whether it can be run."""
    if file.is_symlink():
        return b"link " + os.fsencode(os.readlink(file))
    kind = b"program " if os.access(file, os.X_OK) else b"file "
    with file.open("rb") as stream:
        return kind + hashlib.file_digest(stream, "sha256").digest()


def git(root: Path, *words: str) -> str:
    """What git says about the checkout; nothing outside of one."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tag_of(description: str, digits: str) -> str:
    """A valid tag from a git description, which may hold a slash or a plus, and the fingerprint."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", description).lstrip(".-")
    return f"{name[:100] or 'source'}-{digits}"


def describe(root: Path, arguments: Iterable[str]) -> str:
    """The tag of this build: `git describe` for people, the fingerprint for certainty."""
    return tag_of(git(root, "describe", "--tags", "--always", "--dirty"), fingerprint(root, arguments))
