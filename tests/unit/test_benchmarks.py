"""The benchmarks start: what they use of the tests' helpers is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted((TESTS / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_explains_itself(benchmark: Path) -> None:
    paths = os.pathsep.join(str(path) for path in (TESTS.parent / "scripts", TESTS, TESTS / "image"))
    done = subprocess.run(
        [sys.executable, benchmark, "--help"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
