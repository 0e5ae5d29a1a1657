"""Rules about tensors and data, on raw tensors as stock smdebug saves them and on the summaries of debug=light."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_classifier.insight.verdict import Status
from written import Job, noise, summary

ISSUE, FINE, BLIND = Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED
TRAINABLE = {"trainable": ("conv1.weight", "fc.weight", "fc.bias"), "module": "Net"}
TENSOR_RULES = (
    "ExplodingTensor",
    "VanishingGradient",
    "WeightUpdateRatio",
    "UnchangedTensor",
    "AllZero",
    "DeadRelu",
    "PoorWeightInitialization",
    "TensorVariance",
    "CheckInputImages",
)
OTHER_RULES = ("SaturatedActivation", "ClassImbalance", "SimilarAcrossRuns", "TinyDataset", "SplitOverlap")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path).facts(**TRAINABLE)


def raw(number: int = 0, scale: float = 0.1, gradient: float = 1e-2, change: float = 1e-3) -> dict[str, Any]:
    """A step as stock smdebug saves it."""
    weights = {"conv1.weight": noise(8, 3, 3, 3, scale=scale), "fc.weight": noise(4, 8, scale=scale, seed=1)}
    moved = {
        name: value + change * number * noise(*value.shape, scale=scale, seed=9) for name, value in weights.items()
    }
    return {
        **{f"Net_{name}": value for name, value in moved.items()},
        "Net_fc.bias": np.full(4, 0.1 * number * change, np.float32),
        **{f"gradient/Net_{n}": noise(*value.shape, scale=gradient, seed=number) for n, value in weights.items()},
        "relu_input_0": noise(6, 8, 4, 4, seed=number),
        "relu_output_0": np.maximum(noise(6, 8, 4, 4, seed=number), 0),
        "Net_input_0": noise(6, 3, 8, 8, seed=number),
    }


def light(number: int = 0, **options: float) -> dict[str, Any]:
    """The same step as debug=light saves it."""
    found = raw(number, **options)
    later = raw(number + 1, **options)
    step = {}
    for name in ("conv1.weight", "fc.weight", "fc.bias"):
        step[f"statistics/weight/{name}"] = summary(found[f"Net_{name}"])
        if f"gradient/Net_{name}" in found:
            step[f"statistics/gradient/{name}"] = summary(found[f"gradient/Net_{name}"])
        before = found[f"Net_{name}"]
        step[f"statistics/update/{name}"] = summary(np.abs(later[f"Net_{name}"] - before) / (np.abs(before) + 1e-9))
    step["statistics/activation/relu"] = summary(found["relu_input_0"])
    step["statistics/activity/relu"] = (found["relu_output_0"] > 0).mean((0, 2, 3)).astype(np.float32)
    step["statistics/input/Net"] = summary(found["Net_input_0"])
    return step


FORMS = pytest.mark.parametrize("form", [raw, light])


def test_without_tensors_no_rule_about_them_can_look(tmp_path: Path) -> None:
    assert {Job(tmp_path).says(rule) for rule in TENSOR_RULES + OTHER_RULES} == {BLIND}


@FORMS
def test_a_healthy_run_has_no_issue(job: Job, form: Any) -> None:
    job.steps(*[form(number) for number in range(6)])
    assert {rule: job.verdict(rule).reason for rule in TENSOR_RULES if job.says(rule) is not FINE} == {}


@FORMS
def test_one_nan_is_found_and_named(job: Job, form: Any) -> None:
    bad = form(1)
    name = "Net_fc.weight" if form is raw else "statistics/weight/fc.weight"
    value = raw(1)["Net_fc.weight"]
    value[0, 0] = np.nan
    bad[name] = value if form is raw else summary(value)
    verdict = job.steps(form(0), bad).verdict("ExplodingTensor")
    assert (verdict.status, "weight fc.weight in step 1" in verdict.reason) == (ISSUE, True)


@FORMS
def test_tiny_gradients_vanish(job: Job, form: Any) -> None:
    assert job.steps(*[form(n, gradient=1e-9) for n in range(4)]).says("VanishingGradient") is ISSUE


@FORMS
def test_weights_that_stay_are_unchanged(job: Job, form: Any) -> None:
    assert job.steps(*[form(0)] * 4).says("UnchangedTensor") is ISSUE


@FORMS
def test_a_frozen_weight_may_stay(job: Job, form: Any) -> None:
    still = form(0)
    frozen = {name: value for name, value in still.items() if "conv1" in name and "gradient" not in name}
    job.facts(trainable=("fc.weight", "fc.bias"), frozen=("conv1.weight",), module="Net")
    job.steps(*[{**form(n), **frozen} for n in range(4)])
    assert (job.says("UnchangedTensor"), job.says("UnchangedTensor", "aws")) == (FINE, ISSUE)


@FORMS
@pytest.mark.parametrize(("change", "verdict"), [(1e-8, ISSUE), (1e-3, FINE), (20.0, ISSUE)])
def test_updates_may_be_neither_too_small_nor_too_large(job: Job, form: Any, change: float, verdict: Status) -> None:
    assert job.steps(*[form(n, change=change) for n in range(4)]).says("WeightUpdateRatio") is verdict


@FORMS
def test_zero_weights_and_huge_weights_are_a_poor_beginning(tmp_path: Path, form: Any) -> None:
    zero = Job(tmp_path / "zero").facts(**TRAINABLE).steps(*[form(0, scale=0.0)] * 3)
    assert (zero.says("PoorWeightInitialization"), zero.says("AllZero")) == (ISSUE, ISSUE)
    huge = Job(tmp_path / "huge").facts(**TRAINABLE).step(form(0, scale=50.0))
    assert huge.says("PoorWeightInitialization") is ISSUE


@FORMS
def test_weights_that_spread_have_too_much_variance(job: Job, form: Any) -> None:
    assert job.steps(form(0), form(1, scale=5.0)).says("TensorVariance") is ISSUE
    assert job.says("TensorVariance", "aws") is BLIND


def test_channels_that_are_never_positive_are_dead(job: Job) -> None:
    dead = np.zeros(8, np.float32)
    dead[:3] = 0.4
    assert job.steps(*[{"statistics/activity/relu": dead}] * 3).says("DeadRelu") is ISSUE


def test_one_bad_step_is_no_dead_relu_but_for_aws(job: Job) -> None:
    alive, dead = {"relu_output_0": np.ones((2, 8, 4, 4))}, {"relu_output_0": np.zeros((2, 8, 4, 4))}
    job.steps(alive, dead, alive)
    assert (job.says("DeadRelu"), job.says("DeadRelu", "aws")) == (FINE, ISSUE)


@pytest.mark.parametrize(("scale", "verdict"), [(0.5, FINE), (100.0, ISSUE)])
def test_tanh_saturates_on_large_inputs(job: Job, scale: float, verdict: Status) -> None:
    job.facts(activations={"act": "Tanh"}, **TRAINABLE)
    job.step({"statistics/activation/act": summary(10 + noise(100) if scale > 1 else noise(100, scale=scale))})
    assert job.says("SaturatedActivation") is verdict


def test_a_network_without_tanh_and_sigmoid_cannot_saturate(job: Job) -> None:
    job.facts(activations={"relu": "ReLU"}, **TRAINABLE).step(light())
    assert "neither tanh nor sigmoid" in job.verdict("SaturatedActivation").reason


@pytest.mark.parametrize(
    ("pictures", "verdict"),
    [
        (noise(4, 3, 8, 8) + 1.5, FINE),
        (np.abs(noise(4, 3, 8, 8)) / 4, ISSUE),
        (128 + 30 * noise(4, 3, 8, 8), ISSUE),
        (np.zeros((4, 3, 8, 8)), ISSUE),
    ],
)
def test_the_input_has_the_range_of_normalised_pictures(job: Job, pictures: Any, verdict: Status) -> None:
    assert job.step({"Net_input_0": pictures.astype(np.float32)}).says("CheckInputImages") is verdict


def test_aws_looks_at_the_mean_of_the_input(job: Job) -> None:
    assert job.step({"Net_input_0": noise(4, 3, 8, 8) + 1.5}).says("CheckInputImages", "aws") is ISSUE


def test_poor_initialisation_as_aws_documents_it(job: Job) -> None:
    assert job.step(raw(0, gradient=1.0)).says("PoorWeightInitialization", "aws") is FINE
    job.step({"gradient/Net_fc.weight": noise(4, 8, scale=1e-6)})
    assert job.says("PoorWeightInitialization", "aws") is ISSUE


@pytest.mark.parametrize(("counts", "verdict"), [((50, 40), FINE), ((50, 4), ISSUE), ((50, 0), ISSUE)])
def test_classes_are_about_as_large_as_each_other(job: Job, counts: tuple[int, ...], verdict: Status) -> None:
    assert job.facts(class_counts=counts, classes=("a", "b")).says("ClassImbalance") is verdict


def test_labels_tell_the_size_of_classes_where_nothing_else_does(job: Job) -> None:
    job.steps(*[{"labels": np.array([0] * 29 + [1])}] * 20)
    assert job.says("ClassImbalance") is ISSUE


@pytest.mark.parametrize(
    ("rule", "facts", "verdict"),
    [
        ("TinyDataset", {"class_counts": (4, 5, 6)}, ISSUE),
        ("TinyDataset", {"class_counts": (40, 50, 60)}, FINE),
        ("TinyDataset", {"class_counts": (9, 9), "hyperparameters": {"freeze_backbone": True}}, FINE),
        ("SplitOverlap", {"duplicates": {"validation": 9}, "counts": {"validation": 60}}, ISSUE),
        ("SplitOverlap", {"duplicates": {"validation": 0, "test": 0}, "counts": {"validation": 60}}, FINE),
        ("FrozenByMistake", {"frozen": ("a",), "hyperparameters": {"freeze_backbone": False}}, ISSUE),
        ("FrozenByMistake", {"trainable": ("a",), "hyperparameters": {"freeze_backbone": False}}, FINE),
        ("FrozenByMistake", {"frozen": ("a",), "hyperparameters": {"freeze_backbone": True}}, BLIND),
    ],
)
def test_facts_of_the_run_are_judged(tmp_path: Path, rule: str, facts: dict[str, Any], verdict: Status) -> None:
    assert Job(tmp_path).facts(**facts).says(rule) is verdict


def test_runs_are_compared_when_another_is_named(job: Job) -> None:
    job.step(raw(0))
    same = Job(job.folder / "same").step(raw(0))
    other = Job(job.folder / "other").step(raw(0, scale=0.3))
    assert job.says("SimilarAcrossRuns", other=same) is FINE
    assert job.says("SimilarAcrossRuns", other=other) is ISSUE
