"""docker/install.sh, which makes .venv and the image's environment, and the disk that .ci/run asks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def install(venv: Path) -> None:
    """Make a virtual environment from an empty lock file."""
    lock = venv.with_name("lock.txt")
    lock.touch()
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([ROOT / "docker/install.sh", venv, lock], env=environment, check=True, capture_output=True)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """What this Python makes, with something in it."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (folder / "a_package").touch()
    return folder


class TestInstalling:
    def test_what_the_same_python_made_is_kept(self, venv: Path) -> None:
        install(venv)
        assert (venv / "a_package").exists()

    def test_what_another_python_made_is_made_anew(self, venv: Path) -> None:
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to("/bin/echo")
        install(venv)
        assert not (venv / "a_package").exists()
        assert subprocess.check_output([venv / "bin/python", "-c", "print(1)"], text=True) == "1\n"


def test_ci_refuses_a_disk_that_is_too_small_before_it_starts_anything() -> None:
    environment = {**os.environ, "DISK_NEED_GB": "1000000"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GB free" in done.stdout
    assert done.stderr.startswith(".ci/run: a build from nothing needs 1000000 GB of disk")
    assert len(done.stderr.splitlines()) == 1
