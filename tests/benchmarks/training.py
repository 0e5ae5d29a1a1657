"""Baseline against product, and recipe against recipe, on the same data, weights and machine, interleaved.

    make bench BENCH=training ARGS="--jobs A quick best --seeds 0 1 2"

Every job is measured from process start to saved model. With `--part 8` the seeds' jobs run one epoch on each eighth
picture, and their CPU time is worked out from it; they then have no accuracy. A finished job is kept in the file
out/benchmark-training.jsonl and is not run again, so that this may be cut at any moment; training.md is written from
all that is there. Data: grocery81 and MobileNetV2's ImageNet weights in ../shared/data beside the project; where they
are missing this says so and measures nothing.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import doors
import ways

HERE = Path(__file__).resolve().parent
LOG = ways.OUT / "benchmark-training.jsonl"
PHOTOS = doors.DATA / "grocery81"
WEIGHTS = doors.DATA / "weights" / "mobilenet_v2-bd224f15.pth"
ARCHITECTURE = "mobilenet_v2"
TRAINED, EPOCHS = 2575, 10  # pictures of the train split; epochs of both seeds
# the seeds' ten epochs; what is ours is only how they are run
PRODUCT: Mapping[str, Mapping[str, str]] = {
    "product, as A": {"epochs": "10", "batch_size": "64", "optimizer": "adam", "learning_rate": "0.001"},
    "product, as B": {"epochs": "10", "batch_size": "16", "learning_rate": "0.001", "augmentation": "light"},
    "quick": {"recipe": "quick"},
    "balanced": {"recipe": "balanced"},
    "best": {"recipe": "best"},
}
PAIRS = {"A": ("seed A", "product, as A"), "B": ("seed B", "product, as B")}
RECIPES = ("quick", "balanced", "best")
JOBS = {**PAIRS, **{name: (name,) for name in (*(job for pair in PAIRS.values() for job in pair), *RECIPES)}}


@dataclass(frozen=True)
class Run:
    """One job, from process start to saved model."""

    name: str
    seed: int
    seconds: float
    cpu_seconds: float  # of all its processes: other work on the machine changes it little
    accuracy: float
    peak: int  # bytes, largest process
    part: int = 0  # one epoch on each so-manieth picture was run, and the times are worked out from it; 0: all was run
    load: float = 0.0  # processes that ran or waited to run when it began


def measure(name: str, seed: int, folder: Path, part: int) -> Run:
    """Run one job; of a seed's perhaps a part."""
    base = folder / f"{name.replace(' ', '-')}-{seed}"
    base.mkdir()
    ours = name in PRODUCT
    command, environment = _product(name, seed, base) if ours else _seed(name[-1], seed, base, part)
    load, log_file, started = os.getloadavg()[0], base / "log", time.monotonic()
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
    seconds, text = time.monotonic() - started, log_file.read_text()
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{name} failed:\n{text[-2000:]}")
    said = {name: float(value) for name, value in re.findall(r"\b(\w+)=([0-9.]+);", text)}
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    run = Run(name, seed, seconds, cpu, said["test_accuracy"], peak, load=load)
    return _whole(run, part, said) if part and not ours else run


def _whole(run: Run, part: int, said: Mapping[str, float]) -> Run:
    """What all epochs on all pictures would have taken."""
    epochs, test = part * EPOCHS - 1, part - 1
    return replace(
        run,
        seconds=run.seconds + epochs * said["epochs_seconds"] + test * said["test_seconds"],
        cpu_seconds=run.cpu_seconds + epochs * said["epochs_cpu_seconds"] + test * said["test_cpu_seconds"],
        part=part,
    )


def _product(name: str, seed: int, base: Path) -> tuple[Sequence[str], Mapping[str, str]]:
    channels = {"training": PHOTOS, "pretrained": WEIGHTS}
    way = ways.InVenv(Path(sys.prefix))
    ways.lay_out(base, {"architecture": ARCHITECTURE, **PRODUCT[name], "seed": str(seed)}, channels, way.host)
    command = way.train(base, channels)
    return command.argv, command.environment


def _seed(recipe: str, seed: int, base: Path, part: int) -> tuple[Sequence[str], Mapping[str, str]]:
    script = HERE / "seed_recipes.py"
    options = {"data": PHOTOS, "weights": WEIGHTS, "architecture": ARCHITECTURE, "model": base, "seed": seed}
    options |= {"epochs": 1, "every": part} if part else {"epochs": EPOCHS}
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return [sys.executable, str(script), recipe, *words], {}


def report(runs: Sequence[Run]) -> str:
    """Both tables, as Markdown."""
    lines = [
        "# Training: the seeds' recipes and ours",
        "",
        "grocery81 (81 classes; 2,575 pictures to train on, 361 to validate, 2,485 to test), MobileNetV2 with",
        f"ImageNet weights, {os.cpu_count()} CPU cores, all in one Python environment, one by one, from process start",
        "to saved model: with the test, and for ours with the report and the compiled variants. `load` is how many",
        "processes ran or waited when a job began: above 0.5 its seconds say little, and its CPU seconds are higher",
        "than on a quiet machine, too. The standard error of an accuracy of 75 % on 2,485 pictures is 0.9 points.",
        "A seed's job may be worked out from one epoch on each so-manieth picture: then only its CPU seconds are",
        "given, which hold what the first batches cost more than others. Made by `make bench BENCH=training`, which",
        "goes on from the runs it has.",
        "",
        "## The seeds' ten epochs with a frozen backbone",
        "",
        *_table([run for run in runs if run.name not in RECIPES]),
        "",
        *(line for recipe in PAIRS for line in _ratio(recipe, runs)),
        "",
        "## Recipes",
        "",
        *_table([run for run in runs if run.name in RECIPES]),
    ]
    return "\n".join(lines) + "\n"


def _table(runs: Sequence[Run]) -> list[str]:
    return [
        "| job | seeds | seconds, median (range) | CPU seconds | test accuracy, mean ± sd | peak memory | load |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, [run for run in runs if run.name == name]) for name in JOBS if name in {run.name for run in runs}),
    ]


def _row(name: str, runs: Sequence[Run]) -> str:
    whole = [run for run in runs if not run.part]
    seconds, accuracy = [run.seconds for run in whole], [100 * run.accuracy for run in whole]
    spread = f" ± {statistics.stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    cells = [
        f"{name} (worked out from a part)" if any(run.part for run in runs) else name,
        str(len(runs)),
        f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})" if seconds else "not measured",
        f"{statistics.median(run.cpu_seconds for run in runs):.0f}",
        f"{statistics.mean(accuracy):.2f} %{spread}" if accuracy else "not trained to the end",
        f"{max(run.peak for run in runs) / 2**20:.0f} MiB",
        f"{statistics.median(run.load for run in runs):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(recipe: str, runs: Sequence[Run]) -> Iterable[str]:
    baseline, product = ([run for run in runs if run.name == name] for name in PAIRS[recipe])
    if not baseline or not product:
        return
    whole = [run.seconds for run in baseline if not run.part]
    seconds = statistics.median(run.seconds for run in product)
    cpu = statistics.median(run.cpu_seconds for run in baseline) / statistics.median(run.cpu_seconds for run in product)
    wall = f"{statistics.median(whole) / seconds:.1f} times as fast, " if whole else ""
    yield (
        f"- Recipe {recipe}: {wall}{cpu:.1f} times less CPU, ratio of medians over {len(baseline)} and {len(product)} "
        f"runs; {TRAINED * EPOCHS / seconds:.0f} training pictures a second of the whole job."
    )


def kept() -> list[Run]:
    """The runs that are finished."""
    return [Run(**json.loads(line)) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def keep(run: Run) -> None:
    """Add a finished run."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(run)) + "\n")


def main() -> None:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=[*PAIRS, *RECIPES], help="A: seed A and ours, so B")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--part", type=int, default=0, help="run so small a part of the seeds' jobs: 8 is an eighth")
    chosen = parser.parse_args()
    if not PHOTOS.is_dir():
        raise SystemExit(f"SKIPPED: {PHOTOS} is not there, so there is nothing to measure.")
    names = dict.fromkeys(name for job in chosen.jobs for name in JOBS[job])
    done = {(run.name, run.seed) for run in kept()}
    for name, seed in ((name, seed) for seed in chosen.seeds for name in names if (name, seed) not in done):
        with tempfile.TemporaryDirectory() as folder:
            keep(run := measure(name, seed, Path(folder), chosen.part))
        print(run, flush=True)
    (HERE / "training.md").write_text(report(kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
