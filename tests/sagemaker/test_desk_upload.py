"""Pictures to S3: what is looked at before the first byte, and what is sent."""

import io
import re
import shutil
from pathlib import Path

import pytest
from desk_commands import Quick
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from workflow.upload import is_there

PREFIX = "uploads/data"


def picture(kind: str, colour: int = 0, size: int = 64) -> bytes:
    stream = io.BytesIO()
    noise = Image.effect_noise((size, size), 50).convert("RGB")
    noise.paste((colour, 0, 0), (0, 0, 8, 8))
    noise.save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "valid", "test"):
        for name in ("ant", "bee"):
            file = tmp_path / "data" / split / name / "1.jpg"
            file.parent.mkdir(parents=True)
            file.write_bytes(picture("JPEG"))
    return tmp_path / "data"


def upload(desk: Quick, folder: Path, code: int = 0) -> str:
    return desk.run("upload", "--data", str(folder), code=code, settings={"project": "uploads"})


def test_only_what_changed_is_sent(desk: Quick, folder: Path) -> None:
    assert "uploaded 6, unchanged 0, removed 0" in upload(desk, folder)
    (folder / "train" / "ant" / "1.jpg").write_bytes(picture("JPEG", 200))
    (folder / "train" / "ant" / "2.png").write_bytes(picture("PNG"))
    (folder / "test" / "bee" / "1.jpg").rename(folder / "test" / "bee" / "2.jpg")
    said = upload(desk, folder)
    assert "2 classes, 7 pictures (2 test, 3 train, 2 valid)" in said
    assert "uploaded 3, unchanged 4, removed 1" in said
    assert len(desk.api.keys(f"{PREFIX}/")) == 7
    assert "uploaded 0, unchanged 7, removed 0" in upload(desk, folder)


def test_at_a_terminal_a_bar_shows_how_far_it_is(desk: Quick, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, color_system=None, width=100)
    monkeypatch.setattr("workflow.upload.SCREEN", terminal)
    upload(desk, folder)
    assert re.search("uploading .*100%", shown.getvalue())


def test_other_names_of_splits_and_folders_in_a_class_are_sent_and_what_is_no_split_is_left(
    desk: Quick, folder: Path
) -> None:
    upload(desk, folder)
    desk.api.put(f"{PREFIX}/notes/mine.txt", b"not the desk's")
    (folder / "valid").rename(folder / "val")
    deep = folder / "train" / "ant" / "more" / "1.jpg"
    deep.parent.mkdir()
    deep.write_bytes(picture("JPEG", 100))
    (folder / "drafts").mkdir()
    said = upload(desk, folder)
    assert "not sent, for they are no split: drafts" in said
    assert "uploaded 3, unchanged 4, removed 2" in said
    kept = {key.removeprefix(f"{PREFIX}/") for key in desk.api.keys(f"{PREFIX}/")}
    assert kept >= {"val/ant/1.jpg", "val/bee/1.jpg", "train/ant/more/1.jpg", "notes/mine.txt"}
    assert not any(key.startswith("valid/") for key in kept)


def test_what_somebody_else_has_changed_is_sent_again(desk: Quick, folder: Path) -> None:
    upload(desk, folder)
    desk.api.put(f"{PREFIX}/train/bee/1.jpg", b"something else")
    assert "uploaded 1, unchanged 5" in upload(desk, folder)


@given(st.binary(max_size=4), st.binary(max_size=4), st.booleans())
def test_encrypted_objects_are_known_by_what_was_noted(before: bytes, now: bytes, encrypted: bool) -> None:
    def etag(content: bytes) -> str:
        return f"kms-{content.hex()}" if encrypted else content.hex()

    note = [before.hex(), etag(before)]
    assert is_there(now.hex(), etag(before), note) is (before == now)
    assert is_there(now.hex(), "another-upload", note) is False
    assert is_there(now.hex(), None, note) is False


def test_before_the_first_byte_the_pictures_are_looked_at(desk: Quick, folder: Path) -> None:
    before = desk.api.keys()
    whole = picture("JPEG", size=256)
    (folder / "train" / "ant" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "valid" / "bee" / "text.png").write_bytes(b"no picture")
    assert "no readable pictures: train/ant/torn.jpg, valid/bee/text.png; repair" in upload(desk, folder, 2)
    (folder / "train" / "ant" / "torn.jpg").unlink()
    (folder / "valid" / "bee" / "text.png").unlink()
    shutil.move(folder / "valid" / "bee", folder / "valid" / "wasp")
    assert "valid/ has classes that train/ has not: wasp; they must agree" in upload(desk, folder, 2)
    shutil.move(folder / "valid" / "wasp", folder / "valid" / "bee")
    shutil.rmtree(folder / "test" / "bee")
    assert "test/ has no pictures of these classes of train/: bee" in upload(desk, folder, 2)
    (folder / "train" / "loose.jpg").write_bytes(whole)
    assert "in no folder of a class: train/loose.jpg" in upload(desk, folder, 2)
    (folder / "train" / "loose.jpg").unlink()
    (folder / "val").mkdir()
    assert "has valid/ and val/, which are both the split for validation" in upload(desk, folder, 2)
    shutil.rmtree(folder / "train")
    (folder / "val").rmdir()
    assert "has no train/<class>/<picture>" in upload(desk, folder, 2)
    assert desk.api.keys() == before
