"""The benchmarks start: what they use of the tests' helpers is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted((TESTS / "benchmarks").glob("*.py"))
QUICK = (
    *("gpu.py", "--architecture", "shufflenet_v2_x0_5", "--image-size", "32", "--seconds", "0.01"),
    *("--batches", "1", "4", "--numbers", "eager", "bf16"),
)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_explains_itself(benchmark: Path) -> None:
    assert "usage:" in run(benchmark, "--help")


def run(benchmark: Path, *words: str) -> str:
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = os.pathsep.join([*map(str, (TESTS.parent / "scripts", TESTS, TESTS / "image")), *filter(None, given)])
    done = subprocess.run(
        [sys.executable, benchmark, *words],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_one_for_gpus_runs_on_a_cpu_too() -> None:
    name, *words = QUICK
    lines = run(TESTS / "benchmarks" / name, *words).splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| shuffle")]
    assert [row[1:3] for row in table] == [["fp32", "1"], ["bf16", "1"], ["fp32", "4"], ["bf16", "4"]]
    for row in table:
        batch, milliseconds, rate = (float(cell) for cell in row[2:5])
        assert rate == pytest.approx(1000 * batch / milliseconds, rel=0.01, abs=1)
