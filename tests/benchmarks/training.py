"""Baseline against product: the seeds' recipes and ours, on the same data, weights and machine, interleaved.

    make bench BENCH=training ARGS="--seeds 0 1 2"

From process start to saved model. Data: grocery81 and MobileNetV2's ImageNet weights in ../shared/data beside the
project; where they are missing this says so and measures nothing. Writes its table to training.md.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import doors
import ways

HERE = Path(__file__).resolve().parent
PHOTOS = doors.DATA / "grocery81"
WEIGHTS = doors.DATA / "weights" / "mobilenet_v2-bd224f15.pth"
ARCHITECTURE = "mobilenet_v2"
# the seeds' ten epochs; what is ours is only how they are run
PRODUCT: Mapping[str, Mapping[str, str]] = {
    "product, as A": {"epochs": "10", "batch_size": "64", "optimizer": "adam", "learning_rate": "0.001"},
    "product, as B": {"epochs": "10", "batch_size": "16", "learning_rate": "0.001", "augmentation": "light"},
}
PAIRS = {"A": ("seed A", "product, as A"), "B": ("seed B", "product, as B")}


@dataclass(frozen=True)
class Run:
    """One job, from process start to saved model."""

    name: str
    seed: int
    seconds: float
    accuracy: float
    peak: int  # bytes, largest process


def measure(name: str, seed: int, folder: Path) -> Run:
    """Run one job."""
    base = folder / f"{name.replace(' ', '-')}-{seed}"
    base.mkdir()
    command, environment = _product(name, seed, base) if name in PRODUCT else _seed(name[-1], seed, base)
    started = time.monotonic()
    text, peak = _run(command, environment, base / "log")
    seconds = time.monotonic() - started
    (accuracy,) = re.findall(r"test_accuracy=([0-9.]+);", text)
    print(f"{name}, seed {seed}: {seconds:.0f} s, accuracy {accuracy}, peak {peak / 2**20:.0f} MiB", flush=True)
    return Run(name, seed, seconds, float(accuracy), peak)


def _product(name: str, seed: int, base: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    channels = {"training": PHOTOS, "pretrained": WEIGHTS}
    way = ways.InVenv(ways.ROOT / ".venv")
    ways.lay_out(base, {"architecture": ARCHITECTURE, **PRODUCT[name], "seed": str(seed)}, channels, way.host)
    command = way.train(base, channels)
    return command.argv, command.environment


def _seed(recipe: str, seed: int, base: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    script = HERE / "seed_recipes.py"
    options = {"data": PHOTOS, "weights": WEIGHTS, "architecture": ARCHITECTURE, "model": base, "seed": seed}
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return [sys.executable, str(script), recipe, *words], {}


def _run(command: Sequence[str], environment: Mapping[str, str], log_file: Path) -> tuple[str, int]:
    """Run a command to its end; gives what it printed, and the most memory one of its processes held."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command[0]} failed:\n{log_file.read_text()[-2000:]}")
    return log_file.read_text(), _peak(usage)


def _peak(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * 1024


def report(runs: Sequence[Run]) -> str:
    """The table, as Markdown."""
    lines = [
        "# Training: the seeds' recipes and ours",
        "",
        "grocery81 (81 classes; 2,575 pictures to train on, 361 to validate, 2,485 to test), MobileNetV2 with ImageNet",
        f"weights, frozen; ten epochs; {os.cpu_count()} CPU cores; both in the same Python environment, interleaved,",
        "from process start to saved model, the test included. Made by `make bench BENCH=training`.",
        "",
        "| job | seeds | seconds, median (range) | test accuracy, % mean ± sd | peak memory, MiB |",
        "|---|---|---|---|---|",
        *(_row(name, [run for run in runs if run.name == name]) for name in dict.fromkeys(run.name for run in runs)),
        "",
        *(_ratio(recipe, runs) for recipe in PAIRS),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, runs: Sequence[Run]) -> str:
    seconds = [run.seconds for run in runs]
    accuracy = [100 * run.accuracy for run in runs]
    spread = statistics.stdev(accuracy) if len(accuracy) > 1 else float("nan")
    return (
        f"| {name} | {len(runs)} | {statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f}) "
        f"| {statistics.mean(accuracy):.2f} ± {spread:.2f} | {max(run.peak for run in runs) / 2**20:.0f} |"
    )


def _ratio(recipe: str, runs: Sequence[Run]) -> str:
    seconds = {run.name: {r.seed: r.seconds for r in runs if r.name == run.name} for run in runs}
    baseline, product = (seconds.get(name, {}) for name in PAIRS[recipe])
    ratios = [baseline[seed] / product[seed] for seed in baseline if seed in product]
    return f"- Recipe {recipe}: {statistics.median(ratios):.1f} times as fast (median of {len(ratios)} pairs)."


def main() -> None:
    """Measure pair by pair, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    chosen = parser.parse_args()
    if not PHOTOS.is_dir():
        raise SystemExit(f"SKIPPED: {PHOTOS} is not there, so there is nothing to measure.")
    names = [name for recipe in chosen.recipes for name in PAIRS[recipe]]
    with tempfile.TemporaryDirectory() as folder:
        runs = [measure(name, seed, Path(folder)) for seed in chosen.seeds for name in names]
    table = report(runs)
    (HERE / "training.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
