"""Trains on real photos through `train`, serves the result through `serve`, and asks it for every test picture.

    make bench ARGS="--recipes frozen --seeds 0 1 2"

Data: grocery81 (5,421 photos, 81 classes) and MobileNetV2's ImageNet weights in ../shared/data beside the project;
where they are missing this says so and measures nothing. Writes its table to real_data.md.
"""

import argparse
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import doors
import ways
from server import Server, serving

HERE = Path(__file__).resolve().parent
PHOTOS = doors.DATA / "grocery81"
WEIGHTS = doors.DATA / "weights" / "mobilenet_v2-bd224f15.pth"
HARD_IMAGES = doors.DATA / "hard-images"
COMMON = {"architecture": "mobilenet_v2"}
RECIPES = {
    # a linear head on features of the centre crop and its mirror image, computed once
    "frozen": {"epochs": "30", "learning_rate": "0.003", "image_size": "288", "augmentation": "light"},
    # every weight learns, on random crops
    "fine_tuned": {
        "freeze_backbone": "false",
        "epochs": "8",
        "batch_size": "32",
        "learning_rate": "0.0007",
        "weight_decay": "0.05",
        "schedule": "one_cycle",
        "augmentation": "standard",
        "label_smoothing": "0.1",
    },
}
CALLERS = 4


@dataclass(frozen=True)
class Run:
    """One recipe with one seed: trained, then asked over HTTP."""

    recipe: str
    seed: int
    seconds: float
    trained: float  # accuracy as `train` reports it
    served: float  # accuracy over HTTP
    a_second: float


@dataclass(frozen=True)
class HardImages:
    """What the server made of difficult, broken and hostile files."""

    statuses: Counter[int]
    growth: int  # bytes, all processes
    workers_kept: bool


def train(recipe: str, seed: int, base: Path) -> tuple[float, float]:
    """Train one job; gives seconds from start to end, and test accuracy."""
    hyperparameters = {**COMMON, **RECIPES[recipe], "seed": str(seed)}
    started = time.monotonic()
    channels = {"training": PHOTOS, "pretrained": WEIGHTS}
    ways.lay_out(base, hyperparameters, channels, doors.WAY.host)
    log_file = base / "train.log"
    with log_file.open("wb") as log, doors.desk.running(doors.WAY.train(base, channels), log) as process:
        code = process.process.wait()
    text = log_file.read_text()
    if code != 0:
        raise SystemExit(f"`train` ended with {code}:\n{text[-2000:]}")
    (accuracy,) = re.findall(r"test_accuracy=([0-9.]+);", text)
    return time.monotonic() - started, float(accuracy)


def ask_all(server: Server) -> tuple[float, float]:
    """Send every test picture; gives the accuracy and the pictures a second."""
    labels = sorted(folder.name for folder in (PHOTOS / "test").iterdir())
    pictures = [(path, labels.index(path.parent.name)) for path in sorted((PHOTOS / "test").rglob("*.jpg"))]

    def right(picture: tuple[Path, int]) -> bool:
        answer = server.invoke(picture[0].read_bytes(), "image/jpeg")
        assert answer.status == 200, answer.body
        return bool(answer.json["topk_indices"][0] == picture[1])

    started = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        correct = sum(pool.map(right, pictures))
    return correct / len(pictures), len(pictures) / (time.monotonic() - started)


def ask_hard(server: Server) -> HardImages:
    """Send every difficult file."""
    before = server.processes()
    workers = {process.pid for process in server.workers()}
    files = sorted(path for path in HARD_IMAGES.iterdir() if path.name != "manifest.json")
    statuses = Counter(server.invoke(path.read_bytes(), "application/octet-stream").status for path in files)
    growth = sum(p.memory for p in server.processes()) - sum(p.memory for p in before)
    return HardImages(statuses, growth, workers == {process.pid for process in server.workers()})


def measure(recipe: str, seed: int, folder: Path) -> tuple[Run, HardImages]:
    """Train, serve, ask."""
    base = folder / f"{recipe}-{seed}"
    seconds, trained = train(recipe, seed, base)
    print(f"{recipe}, seed {seed}: trained in {seconds:.0f} s, test accuracy {trained:.4f}", flush=True)
    with serving(base / "model", base / "serve.log") as server:
        server.wait_until_ready()
        served, a_second = ask_all(server)
        hard = ask_hard(server)
    print(f"  over HTTP: accuracy {served:.4f}, {a_second:.1f} pictures a second; hard images {hard}", flush=True)
    return Run(recipe, seed, seconds, trained, served, a_second), hard


def report(runs: Sequence[Run], hard: HardImages) -> str:
    """The table, as Markdown."""
    recipes = dict.fromkeys(run.recipe for run in runs)
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(hard.statuses.items()))
    workers = "no worker died" if hard.workers_kept else "A WORKER DIED"
    lines = [
        "# Real data: train, serve, ask",
        "",
        "grocery81 (81 classes, 2,575 pictures to train on, 2,485 to test), MobileNetV2 with ImageNet weights,",
        f"{doors.WAY.description}; {os.cpu_count()} cores. The standard error of an accuracy of 75 % is 0.9 points.",
        "Made by `make bench`.",
        "",
        "| recipe | seeds | seconds of `train` | test accuracy, % | over HTTP | pictures a second over HTTP |",
        "|---|---|---|---|---|---|",
        *(_row(recipe, [run for run in runs if run.recipe == recipe]) for recipe in recipes),
        "",
        f"Difficult, broken and hostile files: {statuses}; {workers};",
        f"the memory of all processes grew by {hard.growth / 2**20:.0f} MiB.",
        "",
        *(f"- `{name}`: " + ", ".join(f"{k}={v}" for k, v in RECIPES[name].items()) for name in recipes),
    ]
    return "\n".join(lines) + "\n"


def _row(recipe: str, runs: Sequence[Run]) -> str:
    served = [100 * run.served for run in runs]
    equal = all(abs(run.trained - run.served) < 1e-5 for run in runs)
    cells = [
        recipe,
        str(len(runs)),
        _spread([run.seconds for run in runs], ".0f"),
        _spread([100 * run.trained for run in runs], ".2f"),
        "the same" if equal else f"DIFFERENT: {_spread(served, '.2f')}",
        _spread([run.a_second for run in runs], ".1f"),
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(values: list[float], form: str) -> str:
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def main() -> None:
    """Measure every recipe with every seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    chosen = parser.parse_args()
    if not PHOTOS.is_dir():
        raise SystemExit(f"SKIPPED: {PHOTOS} is not there, so there is nothing to measure.")
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(recipe, seed, Path(folder)) for recipe in chosen.recipes for seed in chosen.seeds]
    table = report([run for run, _ in results], results[-1][1])
    (HERE / "real_data.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
