"""Runs one case and judges it in both profiles."""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from fault_cases.facts import write_facts, write_history
from fault_cases.faults import Case
from fault_cases.machine import Sampler, equip
from fault_cases.world import Setup
from image_classifier.contract import Layout
from image_classifier.errors import UserError
from image_classifier.insight.hook import Hook, Wishes
from image_classifier.insight.judge import judge
from image_classifier.insight.places import Places
from image_classifier.insight.verdict import Status, Verdict
from image_classifier.insight.watching import WatchingHook
from image_classifier.training.checkpoint import Checkpoints
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.loop import Trainer
from image_classifier.training.stopping import Stop


@dataclass(frozen=True)
class Result:
    """What the rules said about one run."""

    case: str
    seed: int
    expected: tuple[str, ...]
    tuned: tuple[str, ...]  # rules that fired
    aws: tuple[str, ...]
    train_seconds: float
    judge_seconds: float
    accuracy: float
    reasons: dict[str, str]

    @property
    def found(self) -> bool:
        """Whether a rule that names the fault fired."""
        return any(rule in self.expected for rule in self.tuned)


def run(case: Case, seed: int, folder: Path) -> Result:
    """Train with the planted fault, then judge what was recorded."""
    torch.set_num_threads(1)
    setup = Setup(seed)
    case.plant(setup)
    setup.make()
    started = time.process_time()
    trainer = _train(setup, folder)
    trained = time.process_time() - started
    return judged(case, seed, folder, trained, trainer)


def judged(case: Case, seed: int, folder: Path, trained: float, trainer: Trainer | None) -> Result:
    """Judge a recorded run in both profiles."""
    started = time.process_time()
    tuned = judge(folder)
    seconds = time.process_time() - started
    return Result(
        case=case.name,
        seed=seed,
        expected=case.rules,
        tuned=_fired(tuned),
        aws=_fired(judge(folder, "aws")),
        train_seconds=trained,
        judge_seconds=seconds,
        accuracy=trainer.progress.best_accuracy if trainer else math.nan,
        reasons={one.rule: f"{one.status.value}: {one.reason}" for one in tuned},
    )


def _fired(verdicts: list[Verdict]) -> tuple[str, ...]:
    return tuple(one.rule for one in verdicts if one.status is Status.ISSUE)


def append(log: Path, result: Result) -> None:
    """Add a result to a log, one JSON object a line."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def read(log: Path) -> list[Result]:
    """The results in a log."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    tuples = ("expected", "tuned", "aws")
    found = [json.loads(line) for line in lines]
    return [Result(**{key: tuple(value) if key in tuples else value for key, value in one.items()}) for one in found]


def make_hook(folder: Path, setup: Setup) -> Hook:
    """The product's hook as a job without configuration has it; the timeline only where the machine is judged."""
    places = replace(Places.find(Layout(folder), {}, {}), resources=None)
    return WatchingHook(places if setup.loading else replace(places, timeline=None), {}, Wishes())


def make_trainer(setup: Setup, folder: Path) -> Trainer:
    """The product's trainer with the case's data, network and changes."""
    stop = Stop()
    trainer = Trainer(
        module=setup.network,
        train=setup.train,
        validation=setup.validation,
        class_counts=(setup.per_class,) * setup.classes,
        chosen=setup.chosen(),
        evaluator=Evaluator(torch.device("cpu"), 64, stop),
        checkpoints=Checkpoints(folder / "checkpoints", "benchmark"),
        hook=make_hook(folder, setup),
        stop=stop,
        set_mode=setup.network.train,
    )
    for action in setup.after:
        action(setup, trainer)
    return trainer


def _train(setup: Setup, folder: Path) -> Trainer:
    trainer, results = make_trainer(setup, folder), folder / "output" / "data"
    write_facts(results, setup, trainer)
    sampler = Sampler(results / "debug" / "profiler") if setup.loading else None
    if setup.loading:
        equip(setup.loading, trainer)
    try:
        trainer.fit()
    except UserError as error:  # the loss is no number any more
        (results / "failure").write_text(str(error), encoding="utf-8")
    finally:
        trainer.hook.close()
    if sampler:
        sampler.close()
    write_history(results, trainer)
    return trainer
