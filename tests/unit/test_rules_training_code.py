"""Rules about the training code: loss, softmax, gradients that are not forgotten, modes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_classifier.insight.verdict import Status
from written import Job, noise

ISSUE, FINE, BLIND = Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def softmax(scores: Any) -> Any:
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def test_without_tensors_none_can_look(job: Job) -> None:
    assert {job.says(r) for r in ("InitialLoss", "OutputsNotLogits", "GradientAccumulation", "ModeMistaken")} == {BLIND}


@pytest.mark.parametrize(("loss", "verdict"), [(1.5, FINE), (44.0, ISSUE), (float("nan"), ISSUE)])
def test_the_first_loss_is_about_that_of_guessing(job: Job, loss: float, verdict: Status) -> None:
    job.facts(classes=("a", "b", "c", "d"), batch_size=32).step({"CrossEntropyLoss_output_0": np.float32(loss)})
    assert job.says("InitialLoss") is verdict


def test_a_loss_that_is_a_sum_is_named(job: Job) -> None:
    job.facts(classes=("a", "b", "c", "d"), batch_size=32).step({"CrossEntropyLoss_output_0": np.float32(44)})
    assert "sum over the batch of 32" in job.verdict("InitialLoss").reason


LABELS = np.arange(40) % 4
RIGHT = 6 * np.eye(4)[LABELS] + 0.1 * noise(40, 4)


def recorded(job: Job, scores: Any, loss: float) -> Job:
    """Scores as they go into the loss, or softmaxed as debug=light may save them."""
    tensors = {"CrossEntropyLoss_input_0": scores.astype(np.float32), "CrossEntropyLoss_input_1": LABELS}
    return job.step({**tensors, "CrossEntropyLoss_output_0": np.float32(loss)})


@pytest.mark.parametrize(
    ("scores", "loss", "verdict"),
    [
        (RIGHT, 0.01, FINE),  # logits
        (softmax(RIGHT), 0.01, FINE),  # their softmax, saved for the reader
        (softmax(RIGHT), 0.75, ISSUE),  # probabilities that went into a cross-entropy
        (softmax(softmax(RIGHT)), 0.75, ISSUE),  # a softmax of probabilities, saved for the reader
    ],
)
def test_two_softmaxes_are_recognised(job: Job, scores: Any, loss: float, verdict: Status) -> None:
    assert recorded(job, scores, loss).says("OutputsNotLogits") is verdict


@pytest.mark.parametrize(("kept", "verdict"), [(0.0, FINE), (1.0, ISSUE)])
@pytest.mark.parametrize("saved", [softmax, lambda scores: scores])
def test_gradients_that_stay_are_larger_than_their_batch_gives(
    job: Job, kept: float, verdict: Status, saved: Any
) -> None:
    before = np.zeros(4)
    for step in range(16):
        scores = noise(40, 4, seed=step) + 0.5 * np.eye(4)[LABELS] + [0.4, 0, 0, 0]
        gradient = kept * before + (softmax(scores) - np.eye(4)[LABELS]).mean(0)
        before = gradient
        found = {"labels": LABELS, "predictions": saved(scores).astype(np.float32)}
        job.step({**found, "gradient/Net_fc.bias": gradient.astype(np.float32)})
    assert job.says("GradientAccumulation") is verdict


def test_a_head_with_an_activation_after_it_has_another_gradient(job: Job) -> None:
    job.facts(activations={"classifier.2": "ReLU"})
    gradient = {"gradient/Net_classifier.1.bias": np.ones(4, np.float32)}
    job.steps(*[{"labels": LABELS, "predictions": softmax(RIGHT), **gradient}] * 6)
    assert "does not end with a linear layer" in job.verdict("GradientAccumulation").reason


@pytest.mark.parametrize(
    ("train", "evaluation", "verdict"),
    [(1.0, 0.0, FINE), (0.0, 0.0, ISSUE), (1.0, 1.0, ISSUE), (np.nan, np.nan, BLIND)],
)
def test_layers_are_in_the_mode_of_the_step(job: Job, train: float, evaluation: float, verdict: Status) -> None:
    job.step({"statistics/training/Net": np.array([train], np.float32)})
    job.step({"statistics/training/Net": np.array([evaluation], np.float32)}, mode="EVAL")
    assert job.says("ModeMistaken") is verdict
