"""Judges a job by every rule.

python -m image_classifier.insight.judge DIRECTORY [--profile aws] [--other DIRECTORY] [--output DIRECTORY]
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from image_classifier.errors import UserError
from image_classifier.insight import aws_output
from image_classifier.insight.files import find
from image_classifier.insight.rules.registry import RULES, named
from image_classifier.insight.rules.rule import Finding, NotEvaluated, Profile, Rule
from image_classifier.insight.run import Run
from image_classifier.insight.run_facts import RunFacts
from image_classifier.insight.trial import Trial
from image_classifier.insight.verdict import Point, Status, Verdict

FILE = "rules.json"
_MOST_POINTS = 500  # kept of each verdict: what a chart can show


def judge(directory: Path, profile: Profile = "tuned", other: Path | None = None) -> list[Verdict]:
    """Judge a job by every rule of a profile.

    Args:
        directory: holds the output of a training job; see files.find.
        profile: `tuned` with our numbers and all rules, `aws` with AWS's numbers and rules.
        other: another job's output, for SimilarAcrossRuns.

    Raises:
        UserError: there is no such directory.
    """
    run = Run.open(directory, other)
    return [verdict(rule, run, profile) for rule in RULES if rule.limits(profile) is not None]


def verdict(rule: Rule, run: Run, profile: Profile = "tuned") -> Verdict:
    """Judge a run by one rule; a rule that fails says so and counts as not evaluated."""
    limits = rule.limits(profile) or {}
    blank = Verdict(
        rule=rule.name,
        status=Status.NOT_EVALUATED,
        reason="",
        parameters=dict(limits),
        meaning=rule.meaning,
        advice=rule.advice,
        source=rule.source,
        kind=rule.kind,
    )
    try:
        return _filled(blank, rule.look(run, limits))
    except NotEvaluated as reason:
        return replace(blank, reason=f"Not evaluated: {reason}.")
    except Exception as error:  # a rule must never take the job, or the other rules, with it
        return replace(blank, reason=f"Not evaluated: the rule failed ({type(error).__name__}: {error}).")


def _filled(blank: Verdict, finding: Finding) -> Verdict:
    points = tuple(finding.points)
    return replace(
        blank,
        status=Status.ISSUE if finding.fires else Status.NO_ISSUE,
        reason=finding.reason,
        value=finding.value,
        threshold=finding.threshold,
        violations=sum(point.broken for point in points) or int(finding.fires),
        datapoints=len(points),
        points=_fewer(points),
    )


def _fewer(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """At most _MOST_POINTS points, spread evenly over both the broken and the others."""
    if len(points) <= _MOST_POINTS:
        return points
    every = -(-len(points) // _MOST_POINTS) * 2
    broken, fine = ([n for n, point in enumerate(points) if point.broken == kind] for kind in (True, False))
    keep = {*_thinned(broken, every), *_thinned(fine, every)}
    return tuple(point for n, point in enumerate(points) if n in keep)


def _thinned(numbers: list[int], every: int) -> list[int]:
    return (
        numbers if len(numbers) <= _MOST_POINTS // 2 else numbers[:: max(every, -(-len(numbers) * 2 // _MOST_POINTS))]
    )


class Watch:
    """Judges a job while it runs: each look reads only what is new.

    Args:
        directory: the job's output.
        names: rules that may stop the job.

    Raises:
        UserError: there is no such rule.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        self._rules = named(names)
        self._trial: Trial | None = None

    def first_issue(self) -> Verdict | None:
        """The first rule that fires now; None where none does, or nothing was written yet."""
        files = find(self._directory)
        facts = RunFacts.read(files.data) if files.data else RunFacts()
        if self._trial is None or self._trial.folder != files.tensors:
            self._trial = Trial(files.tensors, facts.module)
        self._trial.refresh()
        run = Run(files, facts, self._trial)
        found = (verdict(rule, run) for rule in self._rules)
        return next((one for one in found if one.status is Status.ISSUE), None)


def first_issue(directory: Path, names: Sequence[str]) -> Verdict | None:
    """The first of the named rules that fires on a job's output; None where none does. See Watch for many looks."""
    return Watch(directory, names).first_issue()


def write(verdicts: Sequence[Verdict], folder: Path) -> None:
    """Write `rules.json`, and the same in AWS's form below `rule-output`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([_plain(asdict(one)) for one in verdicts], indent=1, allow_nan=False)
    (folder / FILE).write_text(text, encoding="utf-8")
    aws_output.write(verdicts, folder / "rule-output")


def _plain(value: Any) -> Any:
    """JSON knows neither NaN, infinity nor numpy: they become null, a very large number and Python's own."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(1e308, value)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a directory and print the verdicts; 2 where it cannot be read."""
    parser = argparse.ArgumentParser(prog="judge", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--profile", choices=("tuned", "aws"), default="tuned")
    parser.add_argument("--other", type=Path, help="another run, for SimilarAcrossRuns")
    parser.add_argument("--output", type=Path, help="write rules.json and rule-output here")
    options = parser.parse_args(arguments)
    try:
        verdicts = judge(options.directory, options.profile, options.other)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for one in verdicts:
        print(f"{one.status.value:14} {one.rule:26} {one.reason}")
    if options.output:
        write(verdicts, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
