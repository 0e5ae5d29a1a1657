"""A model of this desk as SageMaker's artifact: model.tar.gz."""

import gzip
import tarfile
from pathlib import Path

from desk import DeskError
from ways import OUT
from workflow.account import SCREEN, digest, send_once
from workflow.settings import Settings

_KINDS = (("model.safetensors", "config.json", "labels.json"), ("model.pth",))  # what the image loads


def pack(model: Path, code: Path | None = None) -> Path:
    """Pack a model, and one's own code with it.

    Args:
        model: folder such as `make train` leaves, with what the image loads.
        code: folder with inference.py, which becomes code/ in the artifact, in the place of the model's own.

    Returns:
        The archive in out/packed; the same content gives the same bytes.

    Raises:
        DeskError: the folder holds no model of this image, or the code no inference.py.
    """
    if not any(all((model / name).is_file() for name in kind) for kind in _KINDS):
        raise DeskError(
            f"{model} holds no model of this image: it has neither {', '.join(_KINDS[0])} nor {_KINDS[1][0]}"
        )
    if code and not (code / "inference.py").is_file():
        raise DeskError(f"{code} has no inference.py; name the folder that it lies in")
    files = _files(model, "")
    if code:
        own = {name: path for name, path in files.items() if not name.startswith("code/")}
        files = {**own, **_files(code, "code/")}
    archive = OUT / "packed" / f"{model.resolve().name}.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (
        archive.open("wb") as stream,
        gzip.GzipFile("", "wb", mtime=0, fileobj=stream) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, path in sorted(files.items()):
            _add(tar, name, path)
    return archive


def send(settings: Settings, model: Path) -> str:
    """The place in S3 of a model folder, or of an archive that is packed already; sent there once."""
    archive = pack(model) if model.is_dir() else model
    if not tarfile.is_tarfile(archive):
        raise DeskError(f"{archive} is no model.tar.gz and no folder of a model; `make sm-pack MODEL=folder` packs one")
    # The name is what a multi-model endpoint knows it by.
    uri = settings.below("packed", f"{archive.name.removesuffix('.tar.gz')}-{digest(archive)}.tar.gz")
    if send_once(settings, archive, uri):
        SCREEN.print(f"sent: {uri}")
    return uri


def _files(folder: Path, prefix: str) -> dict[str, Path]:
    """All files of a folder but hidden ones and Python's caches, by their names in the archive."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    hidden = {name for name in found if any(part[0] == "." or part == "__pycache__" for part in name.parts)}
    return {prefix + name.as_posix(): path for name, path in found.items() if name not in hidden}


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    with path.open("rb") as stream:
        tar.addfile(member, stream)
