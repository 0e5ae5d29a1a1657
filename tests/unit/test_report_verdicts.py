"""The sentences agree with the verdicts: a test for each contradiction of the report that AWS's Debugger makes."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import job_output
from image_classifier.insight import judge
from image_classifier.insight.report import build, gather, health, render
from image_classifier.insight.report.wording import SPACE
from image_classifier.insight.verdict import Status, Verdict
from job_output import BLIND, ISSUE, QUIET, verdict


def page_of(folder: Path, verdicts: list[Verdict] | None = None, **system: float) -> str:
    """The page of a job as plain text."""
    if not (folder / "data").exists():
        data = job_output.write_job(folder)
        job_output.write_system(data / "debug" / "profiler", **system)  # type: ignore[arg-type]
    html = render(build(gather(folder, verdicts)))
    text = re.sub(r"<[^>]+>", " ", html.split("</style>")[1])
    return " ".join(text.replace(SPACE, " ").replace("&#39;", "'").split())


def answer(page: str, question: str) -> str:
    """One answer of the first screen."""
    questions = ["Did it learn?", "Is it healthy?", "Was the hardware used?", "What to do next?", "How learning went"]
    start = page.index(question)
    return page[start : page.index(questions[questions.index(question) + 1])]


def test_the_use_of_a_gpu_is_the_measured_one(tmp_path: Path) -> None:
    """AWS's said "p95 above 70 %" of a GPU whose p95 was 41 %."""
    page = page_of(tmp_path, busy=70.0, gpus=1)
    samples = gather(tmp_path, []).run.system.gpus()["gpu0"].values
    assert len(samples) == job_output.SECONDS
    high = float(np.percentile(samples, 95))
    assert 30 < high < 50
    assert f"95th percentile {high:.1f} %" in answer(page, "Was the hardware used?")
    (found,) = [each for each in judge.judge(tmp_path) if each.rule == "LowGPUUtilization"]
    assert found.status is ISSUE
    assert found.value == pytest.approx(high)
    assert "LowGPUUtilization: issue" in page
    assert not re.search(r"above 70", page)
    assert "Only in part" in answer(page, "Was the hardware used?")


def test_a_share_below_its_threshold_is_no_issue_and_triggered_nothing(tmp_path: Path) -> None:
    """AWS's said "36 %, below the threshold of 50 %" and "triggered 5 times" of one rule."""
    below = verdict("CPUBottleneck", QUIET, kind="profiler", value=36.0, threshold=50.0, violations=5)
    points = tuple(replace(point, broken=number < 5) for number, point in enumerate(below.points))
    page = page_of(tmp_path, [replace(below, points=points)])
    assert "5 of 30 measured values beyond the threshold, too few for an issue." in page
    assert "CPUBottleneck: issue" not in page
    assert "none found an issue" in answer(page, "Was the hardware used?")
    assert "triggered" not in page


def test_an_issue_without_a_violation_is_called_a_contradiction() -> None:
    (card,) = health.cards([verdict(violations=0)])
    assert card.verdict.status is BLIND
    assert "contradicts itself" in card.verdict.reason


def test_advice_comes_with_an_issue_and_never_without(tmp_path: Path) -> None:
    """AWS's advised more workers of a rule that had not triggered."""
    quiet, blind = (
        verdict("Dataloader", status, kind="profiler", advice="Use more workers.") for status in (QUIET, BLIND)
    )
    assert "Use more workers" not in page_of(tmp_path, [quiet])
    assert "Use more workers" not in page_of(tmp_path, [blind])
    page = page_of(tmp_path, [replace(quiet, status=ISSUE, violations=3)])
    assert "Dataloader: Use more workers." in page[page.index("What to do next?") :]


def test_a_rule_counts_once_however_often_it_was_broken(tmp_path: Path) -> None:
    """AWS's counted a rule 95 times."""
    many = verdict("GPUMemoryIncrease", ISSUE, kind="profiler", violations=95, datapoints=900)
    page = page_of(tmp_path, [many, verdict("LowGPUUtilization", QUIET, kind="profiler")])
    assert "Of 2 rules about the machine, 1 found an issue (GPUMemoryIncrease) and 1 found all well" in page
    assert "95 of 900 measured values beyond the threshold." in page


def test_every_rule_of_both_kinds_is_on_the_page(tmp_path: Path) -> None:
    """AWS's report had no result of a tensor rule."""
    job_output.write_job(tmp_path)
    verdicts = judge.judge(tmp_path)
    assert {each.kind for each in verdicts} == {"tensor", "profiler"}
    html = render(build(gather(tmp_path, verdicts)))
    for each in verdicts:
        assert f'id="rule-{each.rule}"' in html


@pytest.mark.parametrize("status", list(Status))
def test_health_follows_the_verdicts(tmp_path: Path, status: Status) -> None:
    said = {ISSUE: "✗ 1 issue", QUIET: "✓ No issue found", BLIND: "? Not known"}
    others = set(said.values()) - {said[status]}
    healthy = answer(page_of(tmp_path, [verdict("DeadRelu", status)]), "Is it healthy?")
    assert said[status] in healthy
    assert not [each for each in others if each in healthy]


def test_learning_is_not_praised_beside_a_rule_that_doubts_it(tmp_path: Path) -> None:
    plain = answer(page_of(tmp_path, []), "Did it learn?")
    doubted = answer(page_of(tmp_path, [verdict("Overfit", ISSUE)]), "Did it learn?")
    assert "✓ Yes 88 of 120 test pictures" in plain
    assert "! Yes, with reservations" in doubted
    assert "But the rule Overfit found an issue." in doubted


def test_a_network_that_guesses_has_not_learnt(tmp_path: Path) -> None:
    job_output.write_job(tmp_path)
    job_output.write_predictions(tmp_path / "data", job_output.make_predictions(right=0.1))
    assert "✗ No" in answer(page_of(tmp_path, []), "Did it learn?")


def test_more_epochs_are_advised_only_where_nothing_speaks_against_it(tmp_path: Path) -> None:
    data = job_output.write_job(tmp_path)
    text = (data / "history.csv").read_text().splitlines()
    (data / "history.csv").write_text("\n".join(text[:-1]))  # the best epoch is the last now
    assert "Train longer" in page_of(tmp_path, [verdict("Overfit", QUIET)])
    assert "Train longer" not in page_of(tmp_path, [verdict("Overtraining", ISSUE)])


def test_the_accuracy_is_the_same_wherever_it_is_said(tmp_path: Path) -> None:
    page = page_of(tmp_path, [])
    said = job_output.make_predictions()
    accuracy = f"{100 * said.right.mean():.1f} %"
    assert accuracy in answer(page, "Did it learn?")
    assert f"test {accuracy}" in page  # the level in the chart
    assert f"named rightly, {accuracy}" in page
    assert f"the accuracy {accuracy}" in page


def test_one_value_for_each_subject_is_bars_and_many_are_a_chart() -> None:
    one_each = tuple(point for point in verdict().points if point.step == 0)
    (bars,) = health.cards([verdict("ClassImbalance", QUIET, points=one_each)])
    (chart,) = health.cards([verdict()])
    assert bars.bars
    assert not bars.chart
    assert chart.chart
    assert not chart.bars
    assert [series.name for series in chart.chart.series] == ["layer2.weight", "layer1.weight", "layer0.weight"]
