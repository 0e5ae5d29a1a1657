"""A model of the desk becomes an artifact, and stands behind an endpoint."""

import tarfile
from pathlib import Path

import pytest
from desk_commands import Quick, after

PROJECT = "packed"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as `train` leaves it, with the name that a stand-in answers to."""
    folder = tmp_path / "labels-model"
    (folder / "code").mkdir(parents=True)
    files = {"model.safetensors": "weights", "config.json": "{}", "labels.json": "[]", "name": "labels"}
    for name, content in {**files, "code/inference.py": "old = True", ".hidden": ""}.items():
        (folder / name).write_text(content)
    return folder


def pack(desk: Quick, *words: str, code: int = 0) -> str:
    from typer.testing import CliRunner

    from workflow.__main__ import app

    done = CliRunner().invoke(app, ["pack", *words], env=desk.variables)
    assert bool(done.exception) == bool(code)
    return str(done.exception or done.output)


def test_a_folder_is_packed_with_ones_own_code_and_the_same_content_is_the_same_archive(
    desk: Quick, model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    assert "has no inference.py" in pack(desk, "--model", str(model), "--code", str(own), code=2)
    (own / "inference.py").write_text("new = True")
    archive = Path(after(pack(desk, "--model", str(model), "--code", str(own)), "artifact:"))
    first = archive.read_bytes()
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["code/inference.py", "config.json", "labels.json", "model.safetensors", "name"]
        stream = tar.extractfile("code/inference.py")
        assert stream
        assert stream.read() == b"new = True"
    (model / "name").touch()
    pack(desk, "--model", str(model), "--code", str(own))
    assert archive.read_bytes() == first
    archive.unlink()
    (model / "config.json").unlink()
    assert "holds no model of this image" in pack(desk, "--model", str(model), code=2)


def test_a_folder_and_an_archive_are_deployed_and_sent_once(desk: Quick, model: Path, tmp_path: Path) -> None:
    chosen = {"project": PROJECT}
    said = desk.run("deploy", "--job", str(model), settings=chosen)
    place = after(said, "sent:")
    assert place.startswith(f"s3://pictures-and-models/{PROJECT}/packed/labels-model-")
    (tmp_path / "a.png").write_bytes(b"a")
    assert "dog 75.0%" in desk.run("predict", "--path", str(tmp_path / "a.png"), settings=chosen)
    archive = Path(after(pack(desk, "--model", str(model)), "artifact:"))
    again = desk.run("deploy", "--job", str(archive), settings=chosen)
    assert "sent:" not in again
    assert f"updating endpoint {PROJECT} with {place}" in again
    archive.unlink()
    assert "is no model.tar.gz" in desk.run("deploy", "--job", str(tmp_path / "a.png"), code=2, settings=chosen)
    desk.run("clean", "--yes", "--data", settings=chosen)
