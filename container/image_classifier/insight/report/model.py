"""The page as numbers and sentences: everything that the template shows, and nothing that it has to work out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from image_classifier.insight.report import answers, curves, health, layers, mistakes, next_steps, resources, step_time
from image_classifier.insight.report.charts import Chart, Table
from image_classifier.insight.report.material import Material
from image_classifier.insight.report.wording import count, duration, listed


@dataclass(frozen=True)
class Report:
    """One page. A part that is None or empty is told of by the sentence of the same name in `missing`."""

    title: str
    subtitle: str
    failure: str
    answers: tuple[answers.Answer, ...]
    curves: tuple[Chart, ...]
    epochs: Table | None
    cards: tuple[health.Card, ...]
    heats: tuple[layers.Heat, ...]
    timelines: resources.Timelines | None
    times: tuple[step_time.Parts, ...]
    mistakes: mistakes.Mistakes | None
    hyperparameters: Table | None
    versions: Table | None
    missing: dict[str, str]


def build(material: Material) -> Report:
    """Work out all numbers of the page."""
    return Report(
        title=_title(material),
        subtitle=_subtitle(material),
        failure=material.failure,
        answers=(
            answers.learned(material),
            answers.healthy(material),
            answers.used(material),
            next_steps.do_next(material),
        ),
        curves=curves.curves(material),
        epochs=curves.table(material) if material.history else None,
        cards=health.cards(material.verdicts, [row.epoch for row in material.history]),
        heats=layers.heats(material),
        timelines=resources.timelines(material),
        times=tuple(parts for parts in (step_time.of_job(material), step_time.of_step(material)) if parts),
        mistakes=mistakes.mistakes(material),
        hyperparameters=_table(material.facts.hyperparameters, "hyperparameter", "value"),
        versions=_table(material.facts.versions, "package", "version"),
        missing={
            "curves": curves.NONE,
            "cards": health.NONE,
            "heats": layers.NONE,
            "timelines": resources.NONE,
            "times": step_time.NONE,
            "mistakes": mistakes.NONE,
            "facts": "There is no `run.json`, so hyperparameters and versions are not known.",
        },
    )


def _title(material: Material) -> str:
    return f"Training report: {material.facts.architecture}" if material.facts.architecture else "Training report"


def _subtitle(material: Material) -> str:
    """When, how long, on what data and device."""
    facts, phases = material.facts, material.facts.phases
    parts = [count(len(facts.classes), "class", "classes")] if facts.classes else []
    named = {"train": "training"}
    amounts = [f"{amount:,} {named.get(split, split)}" for split, amount in facts.counts.items() if amount]
    parts += [f"{listed(amounts)} pictures"] if amounts else []
    parts += [f"{len(facts.left_out):,} of them damaged and left out"] if facts.left_out else []
    parts += [f"{facts.device}, {count(facts.cores, 'core')}"] if facts.device else []
    if phases:
        start, end = min(phase.start for phase in phases), max(phase.end for phase in phases)
        parts += [f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC", f"took {duration(end - start)}"]
    return " · ".join(parts)


def _table(values: Mapping[str, object], name: str, value: str) -> Table | None:
    rows = [[key, _plain(each)] for key, each in values.items()]
    return Table([name, value], rows) if rows else None


def _plain(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
