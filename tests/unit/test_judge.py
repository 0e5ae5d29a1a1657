"""Judging a directory: every rule speaks, in both profiles, in our form and in AWS's."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.errors import UserError
from image_classifier.insight import judge
from image_classifier.insight.rules.registry import NAMES, RULES, named
from image_classifier.insight.rules.rule import Finding, Rule
from image_classifier.insight.run import Run
from image_classifier.insight.verdict import Point, Status
from written import Job, noise

NAN = {"Net_fc.weight": np.array([1.0, np.nan], np.float32)}
FINE = {"Net_fc.weight": noise(4, 8)}


def test_an_empty_directory_passes_no_rule_in_silence(tmp_path: Path) -> None:
    for profile in ("tuned", "aws"):
        verdicts = judge.judge(tmp_path, profile)
        assert {one.status for one in verdicts} == {Status.NOT_EVALUATED}
        assert all(one.reason.startswith("Not evaluated: ") and one.reason.endswith(".") for one in verdicts)


def test_every_rule_says_what_it_is_and_what_to_do() -> None:
    assert len(set(NAMES)) == len(RULES) == 41
    assert all(rule.meaning.endswith(".") and rule.advice.endswith(".") and rule.source for rule in RULES)


def test_the_aws_profile_holds_the_documented_rules_and_numbers(tmp_path: Path) -> None:
    verdicts = {one.rule: one for one in judge.judge(tmp_path, "aws")}
    assert len(verdicts) == 28
    assert "NotLearning" not in verdicts
    assert verdicts["VanishingGradient"].parameters["threshold"] == 1e-7
    assert verdicts["LossNotDecreasing"].parameters["num_steps"] == 10
    assert verdicts["LowGPUUtilization"].parameters["patience"] == 1000


def test_verdicts_are_written_in_both_forms(tmp_path: Path) -> None:
    job = Job(tmp_path / "job").step(NAN)
    judge.write(judge.judge(job.folder, "aws"), tmp_path / "out")
    ours = {one["rule"]: one for one in json.loads((tmp_path / "out/rules.json").read_text())}
    assert (ours["ExplodingTensor"]["status"], ours["ExplodingTensor"]["violations"]) == ("issue", 1)
    theirs = json.loads((tmp_path / "out/rule-output/ExplodingTensor.json").read_text())
    assert list(theirs) == ["RuleTriggered", "Violations", "Details", "Datapoints", "RuleParameters"]
    assert (theirs["RuleTriggered"], theirs["RuleParameters"]) == (1, "only_nan:False")
    statuses = json.loads((tmp_path / "out/rule-output/statuses.json").read_text())
    words = {one["RuleConfigurationName"]: one["RuleEvaluationStatus"] for one in statuses}
    assert (words["ExplodingTensor"], words["Overfit"], words["AllZero"]) == ("IssuesFound", "Error", "NoIssuesFound")


def test_numbers_that_json_does_not_know_are_written_all_the_same(tmp_path: Path) -> None:
    job = Job(tmp_path / "job").facts(class_counts=(5, 0), classes=("a", "b")).history(*[(float("nan"),) * 4] * 4)
    judge.write(judge.judge(job.folder), tmp_path / "out")
    text = (tmp_path / "out/rules.json").read_text()
    json.loads(text, parse_constant=pytest.fail)


def test_a_rule_that_fails_says_so_and_stops_no_other(tmp_path: Path) -> None:
    def look(_run: object, _limits: object) -> Finding:
        raise ZeroDivisionError("oh")

    rule = Rule("Broken", "m", "a", "s", None, {}, look)
    verdict = judge.verdict(rule, Run.open(tmp_path))
    assert (verdict.status, "ZeroDivisionError: oh" in verdict.reason) == (Status.NOT_EVALUATED, True)


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_charts_get_a_bounded_number_of_points_and_some_of_each_kind(fine: int, broken: int) -> None:
    points = tuple(Point(n, 1.0) for n in range(fine)) + tuple(Point(n, 2.0, broken=True) for n in range(broken))
    kept = judge._fewer(points)
    assert len(kept) <= 500
    assert {point.broken for point in kept} == {point.broken for point in points}


def test_watching_reads_on_and_names_the_first_issue(tmp_path: Path) -> None:
    watch = judge.Watch(tmp_path, ["DeadRelu", "ExplodingTensor"])
    assert watch.first_issue() is None
    job = Job(tmp_path).step(FINE)
    assert watch.first_issue() is None
    job.step(NAN)
    verdict = watch.first_issue()
    assert verdict is not None
    assert verdict.rule == "ExplodingTensor"
    assert judge.first_issue(tmp_path, ["DeadRelu"]) is None


def test_an_unknown_rule_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean ExplodingTensor"):
        named(["ExplodingTensors"])


def test_the_command_prints_a_line_for_each_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Job(tmp_path).step(NAN)
    assert judge.main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RULES)
    assert any(line.startswith("issue          ExplodingTensor") for line in lines)
    assert judge.main([str(tmp_path / "nowhere")]) == 2
