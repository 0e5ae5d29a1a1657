"""Rules about whether the network learns: fires, does not, cannot look."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from image_classifier.insight.files import RunFiles
from image_classifier.insight.rules import loss_not_decreasing
from image_classifier.insight.rules.rule import Finding
from image_classifier.insight.run import Epoch, Run
from image_classifier.insight.run_facts import RunFacts
from image_classifier.insight.trial import Trial
from image_classifier.insight.verdict import Status
from written import Job

ISSUE, FINE, BLIND = Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED
LEARNS = [(1.6, 0.3, 1.5, 0.4), (0.9, 0.6, 1.0, 0.6), (0.5, 0.8, 0.7, 0.8), (0.4, 0.85, 0.6, 0.8)]
CLASSES = {"classes": ("a", "b", "c", "d"), "class_counts": (50, 50, 50, 50), "counts": {"validation": 100}}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def run_of(losses: list[float]) -> Run:
    run = Run(RunFiles(None, None, None, None), RunFacts(), Trial(None))
    run.__dict__["epochs"] = [Epoch(loss, 0.5, 1.0, 0.5) for loss in losses]
    return run


def test_without_anything_no_rule_about_learning_can_look(job: Job) -> None:
    rules = ["LossNotDecreasing", "Overfit", "Overtraining", "NotLearning", "Memorizing", "Confusion", "LabelNoise"]
    assert {job.says(rule) for rule in [*rules, "PredictionCollapse"]} == {BLIND}


def test_a_loss_that_falls_is_fine_and_one_that_stays_is_not(job: Job) -> None:
    assert job.history(*LEARNS).says("LossNotDecreasing") is FINE
    assert job.history(*[(1.6, 0.3, 1.6, 0.3)] * 4).says("LossNotDecreasing") is ISSUE
    assert job.history(*LEARNS[:2]).says("LossNotDecreasing") is BLIND


def test_a_loss_that_rises_again_is_an_issue(job: Job) -> None:
    assert job.history(*LEARNS, (1.4, 0.4, 1.4, 0.4)).says("LossNotDecreasing") is ISSUE


@settings(deadline=None)
@given(st.lists(st.floats(0.2, 10), min_size=3, max_size=12))
def test_the_loss_rule_agrees_with_its_documented_condition(losses: list[float]) -> None:
    found: Finding = loss_not_decreasing.look(run_of(losses), loss_not_decreasing.RULE.tuned)
    best = min(losses)
    fall, limit = (losses[0] - best) / losses[0], best + 0.5 * max(best, 0.1)
    assume(min(abs(fall - 0.05), abs(losses[-1] - limit)) > 1e-9)  # a number on the edge is rounded to either side
    assert found.fires == (fall < 0.05 or losses[-1] > limit)


def test_aws_compares_single_losses_some_steps_apart(job: Job) -> None:
    falling = [{"CrossEntropyLoss_output_0": np.float32(3 / (n + 1))} for n in range(25)]
    assert job.steps(*falling).says("LossNotDecreasing", "aws") is FINE
    rising = [{"CrossEntropyLoss_output_0": np.float32(n + 1)} for n in range(25)]
    assert job.steps(*rising).says("LossNotDecreasing", "aws") is ISSUE


def test_overfit_wants_a_gap_in_loss_and_in_accuracy(job: Job) -> None:
    assert job.history(*LEARNS).says("Overfit") is FINE
    assert job.history(*LEARNS, *[(0.1, 0.99, 0.5, 0.9)] * 2).says("Overfit") is FINE
    assert job.history(*LEARNS, *[(0.1, 0.99, 2.0, 0.4)] * 2).says("Overfit") is ISSUE
    assert job.history((1.0, 0.5, 0.9, 0.5), (1.0, 0.5, 1.2, 0.5)).says("Overfit", "aws") is ISSUE


def test_overtraining_counts_epochs_without_a_better_validation(job: Job) -> None:
    assert job.history(*LEARNS).says("Overtraining") is BLIND
    assert job.history(*LEARNS, *[(0.1, 0.9, 0.9, 0.8)] * 21).says("Overtraining") is ISSUE
    better = [(0.3, 0.9, 0.5 - n / 100, 0.8) for n in range(25)]
    assert job.history(*better).says("Overtraining") is FINE


def test_not_learning_is_accuracy_within_the_luck_of_guessing(job: Job) -> None:
    job.facts(**CLASSES)
    assert job.history(*LEARNS).says("NotLearning") is FINE
    assert job.history(*[(1.4, 0.3, 1.4, 0.27)] * 4).says("NotLearning") is ISSUE
    assert job.facts(classes=()).says("NotLearning") is BLIND


def test_memorizing_is_learning_that_does_not_carry_over(job: Job) -> None:
    job.facts(**CLASSES)
    assert job.history(*LEARNS).says("Memorizing") is FINE
    assert job.history((1.4, 0.3, 1.4, 0.25), (0.2, 0.95, 3.0, 0.27)).says("Memorizing") is ISSUE


def evaluated(job: Job, labels: list[int], scores: np.ndarray) -> Job:
    return job.step({"labels": np.array(labels), "predictions": scores.astype(np.float32)}, mode="EVAL")


def test_prediction_collapse_is_one_answer_for_all(job: Job) -> None:
    labels = [n % 4 for n in range(80)]
    evaluated(job, labels, np.tile([0.7, 0.1, 0.1, 0.1], (80, 1)))
    assert job.says("PredictionCollapse") is ISSUE
    assert evaluated(Job(job.folder / "fine"), labels, np.eye(4)[labels]).says("PredictionCollapse") is FINE


def test_label_noise_is_sure_predictions_that_are_wrong(job: Job) -> None:
    labels = [n % 4 for n in range(120)]
    wrong = [(label + 1) % 4 if n % 5 < 2 else label for n, label in enumerate(labels)]
    sure = 0.88 * np.eye(4)[labels] + 0.03
    assert evaluated(job, wrong, sure).says("LabelNoise") is ISSUE
    assert evaluated(Job(job.folder / "fine"), labels, sure).says("LabelNoise") is FINE


def test_difficult_pictures_are_no_label_noise(job: Job) -> None:
    labels = [n % 4 for n in range(120)]
    wrong = [(label + 1) % 4 if n >= 72 else label for n, label in enumerate(labels)]
    scores = np.eye(4)[labels] * np.where(np.arange(120) >= 72, 0.3, 0.9)[:, None] + 0.05
    assert evaluated(job, wrong, scores / scores.sum(1, keepdims=True)).says("LabelNoise") is FINE


def test_confusion_compares_a_class_with_the_others(job: Job) -> None:
    (job.folder / "data").mkdir()
    table = job.folder / "data" / "confusion.csv"
    table.write_text("true,a,b,c\na,40,5,5\nb,6,40,4\nc,5,5,40\n")
    assert (job.says("Confusion"), job.says("Confusion", "aws")) == (FINE, ISSUE)
    table.write_text("true,a,b,c\na,40,5,5\nb,6,40,4\nc,45,0,5\n")
    assert job.says("Confusion") is ISSUE


def test_epochs_are_made_of_recorded_losses_where_there_is_no_history(job: Job) -> None:
    for epoch in range(4):
        job.steps(*[{"CrossEntropyLoss_output_0": np.float32(2 - epoch / 3)}] * 3)
        job.step({"CrossEntropyLoss_output_0": np.float32(2.1 - epoch / 3)}, mode="EVAL")
    assert [round(e.val_loss, 1) for e in Run.open(job.folder).epochs] == [2.1, 1.8, 1.4, 1.1]
    assert job.says("LossNotDecreasing") is FINE


def test_a_series_of_losses_counts_as_its_steps(job: Job) -> None:
    job.step({"statistics/loss/CrossEntropyLoss": np.array([[0, 2.0], [1, 1.5], [2, 1.2]], dtype=np.float32)})
    assert [(n, round(loss, 3)) for n, loss in Run.open(job.folder).trial.losses()] == [(0, 2.0), (1, 1.5), (2, 1.2)]
