"""The private folder of a server: one that was killed leaves its own, the next removes it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from image_classifier.errors import PlatformError
from image_classifier.serving import private

SERVER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from image_classifier.serving import private
with private.folder() as folder:
    (folder / private.SETTINGS).touch()
    (folder / "body-1").write_bytes(b"of a caller")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_is_there_as_long_as_it_is_used_and_for_nobody_else() -> None:
    with private.folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / private.SETTINGS).touch()
    assert not folder.exists()


def test_what_a_killed_server_left_is_removed_and_what_others_use_is_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SERVER, str(tmp_path)]
    other = tmp_path / f"{private.PREFIX}site"  # of another program
    other.mkdir()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        theirs = Path(server.stdout.readline().strip())
        with private.folder() as ours:
            assert {path.name for path in tmp_path.iterdir()} == {theirs.name, ours.name, other.name}
        server.kill()
        server.wait()
        assert (theirs / "body-1").exists()
        with private.folder():
            assert not theirs.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_without_a_place_for_it_the_reason_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(PlatformError, match=r"No such file or directory.*; give the server a /tmp"), private.folder():
        pass
