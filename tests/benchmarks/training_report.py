"""The tables of training.md, from the runs that training.py has kept.

python tests/benchmarks/training_report.py >tests/benchmarks/training.md
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from image_classifier.training import recipes

GROCERY, DOGS = "grocery81", "dogs"
TRAINED = {GROCERY: 2575, DOGS: 6680}  # pictures of the train split
EPOCHS = 10  # of both seeds
BUSY = 0.5  # cores that other work may take of a timed job
LOG = Path(__file__).with_name("training.jsonl")  # a run a line
PAIRS = {"A": ("seed A", "product, as A"), "B": ("seed B", "product, as B")}
BARE = {"A": "product, as A, without variants", "B": "product, as B, without variants"}
NO_ACCURACY = {True: "means nothing", False: "not trained to the end"}  # by whether a job was run whole
RECIPES = ("quick", "balanced", "best")
ALONE = (*(job for recipe in PAIRS for job in (*PAIRS[recipe], BARE[recipe])), *RECIPES)
JOBS = {**PAIRS, **{name: (name,) for name in ALONE}}


HEAD = f"""\
# Training: the seeds' recipes and ours

grocery81 (81 classes; 2,575 pictures to train on, 361 to validate, 2,485 to test), MobileNetV2 with ImageNet weights,
all in one Python environment, one by one, from process start to saved model: with the test, and for ours with the
report and the compiled variants; the seeds make no variants, so ours are also measured without (`compile=off`). `load`
is how many cores other work took in the second before a job began; where that is above {BUSY}, its seconds are left
out. The standard error of an accuracy of 75 % on 2,485 pictures is 0.9 points. A seed's job may be worked out from one
epoch on each so-manieth picture: then only its CPU seconds are given, which hold what the first batches cost more than
others. A job may also have run with what other work left of the machine (`--idle`): then its accuracy and its CPU
seconds are given. `pictures a second` are those trained on, as often as they were shown, by the seconds of the whole
job. Made by `make bench BENCH=training`, which goes on from the runs in `training.jsonl`.

What is the same: pictures, weights, epochs, batches, the kind of optimizer, its rate, a frozen backbone. What is not:
our rate falls along a cosine, and our weights decay by 1e-4 (A: 0, B: 1e-2); we crop the centre where A squashes, and
mirror where B crops, mirrors and changes colours at random. Both scripts leave the frozen backbone in training mode, so
that its BatchNorm uses each batch's statistics and its own drift; ours stay as they are. So the two are compared by the
accuracy that they reach, not by their weights.
"""

VIEWS = """\
Crops and flips are made picture by picture with Pillow, in the threads that decode. Over a whole uint8 batch at 224
pixels, torch's affine grid took two to four times Pillow's time on one core and on two, before it changes a colour, and
it needs all pictures of a batch in one size. On a GPU it would save the cores about 2 ms a picture; it is not built.

A large JPEG is reduced by its decoder as long as four times the pixels that are wanted are left: 99.2 % of 800 enlarged
photos keep their first label, and one of 4000 x 3000 takes 0.6 of the time. views.md has the figures."""


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
    load: float = math.nan  # cores that other work took just before it began; NaN where nobody looked
    data: str = GROCERY
    architecture: str = "mobilenet_v2"
    idle: bool = False  # it had only what other work left of the machine
    machine: str = "a machine that nobody named"

    @property
    def timed(self) -> bool:
        """Whether its seconds are those of the whole job on a machine of its own."""
        return not self.part and not self.idle and not self.load > BUSY

    @property
    def pictures_a_second(self) -> float:
        """Training pictures, as often as they were shown, by the seconds of the whole job."""
        epochs = int(str(recipes.RECIPES[self.name]["epochs"])) if self.name in RECIPES else EPOCHS
        return TRAINED[self.data] * epochs / self.seconds


def whole(run: Run, part: int, said: Mapping[str, float]) -> Run:
    """What all epochs on all pictures would have taken."""
    epochs, test = part * EPOCHS - 1, part - 1
    return replace(
        run,
        seconds=run.seconds + epochs * said["epochs_seconds"] + test * said["test_seconds"],
        cpu_seconds=run.cpu_seconds + epochs * said["epochs_cpu_seconds"] + test * said["test_cpu_seconds"],
        part=part,
    )


def report(runs: Sequence[Run]) -> str:
    """All tables, as Markdown; those of each machine by themselves."""
    machines = dict.fromkeys(run.machine for run in runs)
    lines = [HEAD, *(line for name in machines for line in _on(name, [run for run in runs if run.machine == name]))]
    return "\n".join([*lines, "## Random views", "", VIEWS]) + "\n"


def _on(machine: str, runs: Sequence[Run]) -> list[str]:
    photos = [run for run in runs if run.data == GROCERY]
    better = [line for name in RECIPES[1:] for line in _difference("quick", name, photos)]
    lines = [f"## On {machine}", "", "The seeds' ten epochs with a frozen backbone:", "", *_pairs(photos)]
    lines += ["Our recipes:", "", *_table([run for run in photos if run.name in RECIPES]), ""]
    lines += [*better, ""] if better else []
    for architecture in sorted({run.architecture for run in runs if run.data == DOGS}):
        lines += [f"Speed on the dog set's shape, {architecture}:", "", *_pairs(_of(runs, DOGS, architecture))]
    return lines


def _of(runs: Sequence[Run], data: str, architecture: str) -> list[Run]:
    """Runs on some data; made-up pictures have no accuracy that means anything."""
    found = [run for run in runs if (run.data, run.architecture) == (data, architecture)]
    return [replace(run, accuracy=math.nan) for run in found] if data == DOGS else found


def _pairs(runs: Sequence[Run]) -> list[str]:
    ratios = [line for recipe in PAIRS for line in _ratio(recipe, runs)]
    return [*_table([run for run in runs if run.name not in RECIPES]), "", *ratios, ""]


def _table(runs: Sequence[Run]) -> list[str]:
    return [
        "| job | seeds | seconds, median (range) | CPU seconds | pictures a second | test accuracy, mean ± sd "
        "| peak memory | load |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, [run for run in runs if run.name == name]) for name in JOBS if name in {run.name for run in runs}),
    ]


def _row(name: str, runs: Sequence[Run]) -> str:
    timed, accuracy = [run for run in runs if run.timed], _percents(runs)
    seconds, loads = [run.seconds for run in timed], [run.load for run in timed if not math.isnan(run.load)]
    spread = f" ± {statistics.stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    cells = [
        f"{name} (worked out from a part)" if all(run.part for run in runs) else name,
        str(len({run.seed for run in runs})),
        f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})" if seconds else "not measured",
        f"{statistics.median(run.cpu_seconds for run in runs):.0f}",
        f"{statistics.median(run.pictures_a_second for run in timed):.0f}" if timed else "not measured",
        f"{statistics.mean(accuracy):.2f} %{spread}" if accuracy else NO_ACCURACY[not all(run.part for run in runs)],
        f"{max(run.peak for run in runs) / 2**20:.0f} MiB",
        f"{statistics.median(loads):.1f}" if loads else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(recipe: str, runs: Sequence[Run]) -> Iterable[str]:
    yield from _quotient(f"Recipe {recipe}", *PAIRS[recipe], runs)
    yield from _quotient(f"Recipe {recipe} without variants", PAIRS[recipe][0], BARE[recipe], runs)
    yield from _difference(*PAIRS[recipe], runs)


def _quotient(title: str, first: str, second: str, runs: Sequence[Run]) -> Iterable[str]:
    """How much faster the second is, and how much less it computes."""
    baseline, product = ([run for run in runs if run.name == name] for name in (first, second))
    if not baseline or not product:
        return
    whole, ours = ([run.seconds for run in side if run.timed] for side in (baseline, product))
    cpu = statistics.median(run.cpu_seconds for run in baseline) / statistics.median(run.cpu_seconds for run in product)
    wall = f"{statistics.median(whole) / statistics.median(ours):.1f} times as fast, " if whole and ours else ""
    yield f"- {title}: {wall}{cpu:.1f} times less CPU, ratio of medians over {len(baseline)} and {len(product)} runs."


def _difference(first: str, second: str, runs: Sequence[Run]) -> Iterable[str]:
    """How much better the second is, and the standard error of that over the seeds."""
    one, other = (_percents([run for run in runs if run.name == name]) for name in (first, second))
    if not one or not other:
        return
    points = statistics.mean(other) - statistics.mean(one)
    known = min(len(one), len(other)) > 1
    error = math.sqrt(sum(statistics.variance(each) / len(each) for each in (one, other))) if known else 0.0
    tail = f" ± {error:.2f} points (standard error over the seeds)" if known else " points; one seed tells no error"
    yield f"- {second} less {first}, test accuracy: {points:+.2f}{tail}."


def _percents(runs: Sequence[Run]) -> list[float]:
    by_seed = {run.seed: 100 * run.accuracy for run in runs if not run.part and not math.isnan(run.accuracy)}
    return list(by_seed.values())


def kept() -> list[Run]:
    """The runs that are finished."""
    return [Run(**json.loads(line)) for line in LOG.read_text(encoding="utf-8").splitlines()] if LOG.exists() else []


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(report(kept()), end="")


if __name__ == "__main__":
    main()
