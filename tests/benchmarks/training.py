"""Baseline against product, and recipe against recipe, on the same data, weights and machine, interleaved.

    make bench BENCH=training ARGS="--jobs A quick best --seeds 0 1 2"

Every job is measured from process start to saved model. With `--part 8` the seeds' jobs run one epoch on each eighth
picture, and their CPU time is worked out from it; they then have no accuracy. With `--idle` a job takes only what other
work leaves of the machine: it then has an accuracy and its CPU seconds, and no time. A finished job is kept in the file
training.jsonl and is not run again on the same machine, so this may be cut at any moment; training.md is written from
all that is there. Data: grocery81 and MobileNetV2's ImageNet weights in ../shared/data beside the project; where they
are missing this says so and measures nothing. With `--data dogs --architecture resnet50` it is made-up pictures of the
dog set's shape (dog_pictures.py) and random weights, the same for both sides: for speed, without an accuracy.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import dog_pictures
import psutil
import torch
import torchvision
from training_report import BARE, DOGS, EPOCHS, GROCERY, JOBS, LOG, PAIRS, RECIPES, Run, kept, report, whole

import doors
import ways

HERE = Path(__file__).resolve().parent
NAMES = doors.DATA / "dogimages-filelist.txt"
# The seeds' epochs, batches, optimizers and rates; what differs is said in training_report.HEAD.
_AS = {
    "A": {"epochs": "10", "batch_size": "64", "optimizer": "adam", "learning_rate": "0.001"},
    "B": {"epochs": "10", "batch_size": "16", "learning_rate": "0.001", "augmentation": "light"},
}
PRODUCT: Mapping[str, Mapping[str, str]] = {
    **{PAIRS[recipe][1]: settings for recipe, settings in _AS.items()},
    **{BARE[recipe]: {**settings, "compile": "off"} for recipe, settings in _AS.items()},
    "quick": {"recipe": "quick"},
    "balanced": {"recipe": "balanced"},
    "best": {"recipe": "best"},
}


@dataclass(frozen=True)
class Data:
    """What both sides are given."""

    name: str
    architecture: str
    pictures: Path
    weights: Path

    @classmethod
    def prepared(cls, name: str, architecture: str) -> "Data":
        """The photos with real weights; or made-up pictures, made where they are missing, with random weights."""
        if name == GROCERY:
            weights = doors.DATA / "weights" / "mobilenet_v2-bd224f15.pth"
            return cls(name, "mobilenet_v2", doors.DATA / GROCERY, weights)
        folder, weights = ways.OUT / "dog-pictures", ways.OUT / "random-weights" / f"{architecture}.pth"
        weights.parent.mkdir(parents=True, exist_ok=True)
        if NAMES.exists():
            dog_pictures.write(NAMES, folder)
        if not weights.exists():
            torch.manual_seed(0)
            torch.save(torchvision.models.get_model(architecture, weights=None).state_dict(), weights)
        return cls(name, architecture, folder, weights)


def measure(name: str, seed: int, folder: Path, part: int, data: Data) -> Run:
    """Run one job; of a seed's perhaps a part."""
    base = folder / f"{name.replace(' ', '-')}-{seed}"
    base.mkdir()
    ours = name in PRODUCT
    command, environment = _product(name, seed, base, data) if ours else _seed(name[-1], seed, base, part, data)
    load, log_file, started = busy_cores(), base / "log", time.monotonic()
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
    seconds, text = time.monotonic() - started, log_file.read_text()
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{name} failed:\n{text[-2000:]}")
    said = {name: float(value) for name, value in re.findall(r"\b(\w+)=([0-9.]+);", text)}
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    what = {"load": load, "data": data.name, "architecture": data.architecture, "idle": _is_idle()}
    what |= {"machine": this_machine()}
    run = Run(name, seed, seconds, cpu, said["test_accuracy"], peak, **what)
    return whole(run, part, said) if part and not ours else run


def busy_cores() -> float:
    """Cores that are at work for others, in the second that this takes; the load average still counts the last job."""
    return psutil.cpu_percent(interval=1) / 100 * psutil.cpu_count()


def this_machine() -> str:
    """Its processor, as far as its maker says, and its cores."""
    known = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    words = {name.strip(): value.strip() for name, value in known.items()}
    kind = ", ".join(f"{name} {words[name]}" for name in ("cpu family", "model", "stepping") if name in words)
    return f"{psutil.cpu_count()} cores of {words.get('model name', 'an unnamed processor')} ({kind})"


def _is_idle() -> bool:
    return os.sched_getscheduler(0) == os.SCHED_IDLE


def _product(name: str, seed: int, base: Path, data: Data) -> tuple[Sequence[str], Mapping[str, str]]:
    channels = {"training": data.pictures, "pretrained": data.weights}
    way = ways.InVenv(Path(sys.prefix))
    ways.lay_out(base, {"architecture": data.architecture, **PRODUCT[name], "seed": str(seed)}, channels, way.host)
    command = way.train(base, channels)
    return command.argv, command.environment


def _seed(recipe: str, seed: int, base: Path, part: int, data: Data) -> tuple[Sequence[str], Mapping[str, str]]:
    script = HERE / "seed_recipes.py"
    options = {"data": data.pictures, "weights": data.weights, "architecture": data.architecture, "model": base}
    options |= {"seed": seed}
    options |= {"epochs": 1, "every": part} if part else {"epochs": EPOCHS}
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return [sys.executable, str(script), recipe, *words], {}


def keep(run: Run) -> None:
    """Add a finished run."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(run)) + "\n")


def done(data: Data, part: bool) -> set[tuple[str, int]]:
    """The jobs that have been run on these data in this way."""
    way = (data.name, data.architecture, part, _is_idle(), this_machine())
    kinds = ((run, (run.data, run.architecture, run.part > 0, run.idle, run.machine)) for run in kept())
    return {(run.name, run.seed) for run, kind in kinds if kind == way}


def main() -> None:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--jobs", nargs="*", choices=JOBS, default=[*PAIRS, *BARE.values(), *RECIPES], help="A: seed A and ours"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--part", type=int, default=0, help="run so small a part of the seeds' jobs: 8 is an eighth")
    parser.add_argument("--data", choices=(GROCERY, DOGS), default=GROCERY)
    parser.add_argument("--architecture", choices=("resnet18", "resnet50"), default="resnet18", help="with dogs")
    parser.add_argument("--idle", action="store_true", help="run with what other work leaves of the machine")
    chosen = parser.parse_args()
    if chosen.idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    data = Data.prepared(chosen.data, chosen.architecture)
    if not data.pictures.is_dir():
        raise SystemExit(f"SKIPPED: {data.pictures} is not there, so there is nothing to measure.")
    names = dict.fromkeys(name for job in chosen.jobs for name in JOBS[job])
    wanted = [(name, seed) for seed in chosen.seeds for name in names]
    for name, seed in (each for each in wanted if each not in done(data, bool(chosen.part))):
        with tempfile.TemporaryDirectory() as folder:
            keep(run := measure(name, seed, Path(folder), chosen.part, data))
        print(run, flush=True)
    (HERE / "training.md").write_text(report(kept()), encoding="utf-8")


if __name__ == "__main__":
    main()
