"""Profiler rules: fires, does not, cannot look."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classifier.insight.rules.load_balancing import distance
from image_classifier.insight.rules.memory import growth
from image_classifier.insight.rules.registry import RULES
from image_classifier.insight.system import Series
from image_classifier.insight.verdict import Status
from written import Job

ISSUE, FINE, BLIND = Status.ISSUE, Status.NO_ISSUE, Status.NOT_EVALUATED
CPU, GPU, GPU_MEMORY = ("CPUUtilization", "cpu0"), ("GPUUtilization", "gpu0"), ("GPUMemoryUtilization", "gpu0")
IO, MEMORY = ("I/OWaitPercentage", "cpu0"), ("MemoryUsedPercent", "MemoryUsedPercent")
STEP, EVALUATE = "Step:ModeKeys.TRAIN", "Step:ModeKeys.EVAL"
WAIT, WORK = "DataLoaderIter", "DataLoaderWorker"
MANY = 1100  # samples: more than the patience of AWS's rules


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES if rule.kind == "profiler"])
def test_without_a_profile_none_can_look(job: Job, rule: str) -> None:
    assert job.says(rule) is BLIND


@pytest.mark.parametrize(
    ("rule", "fires", "fine"),
    [
        ("LowGPUUtilization", {GPU: [30.0] * MANY}, {GPU: [95.0] * MANY}),
        ("LowGPUUtilization", {GPU: [5.0, 95.0] * (MANY // 2)}, {GPU: [60.0, 95.0] * (MANY // 2)}),
        (
            "BatchSize",
            {GPU: [30.0] * MANY, GPU_MEMORY: [10.0] * MANY, CPU: [20.0] * MANY},
            {GPU: [30.0] * MANY, GPU_MEMORY: [90.0] * MANY, CPU: [20.0] * MANY},
        ),
        ("CPUBottleneck", {GPU: [3.0] * MANY, CPU: [99.0] * MANY}, {GPU: [90.0] * MANY, CPU: [99.0] * MANY}),
        ("IOBottleneck", {GPU: [3.0] * MANY, IO: [80.0] * MANY}, {GPU: [3.0] * MANY, IO: [5.0] * MANY}),
        ("GPUMemoryIncrease", {GPU_MEMORY: list(np.linspace(10, 60, MANY))}, {GPU_MEMORY: [40.0, 48.0] * (MANY // 2)}),
        (
            "LoadBalancing",
            {GPU: [90.0] * MANY, ("GPUUtilization", "gpu1"): [10.0] * MANY},
            {GPU: [90.0] * MANY, ("GPUUtilization", "gpu1"): [91.0] * MANY},
        ),
        ("HostMemoryIncrease", {MEMORY: list(np.linspace(10, 40, 100))}, {MEMORY: [10.0] * 30 + [30.0] * 70}),
    ],
)
def test_samples_of_the_machine_are_judged(tmp_path: Path, rule: str, fires: dict, fine: dict) -> None:
    assert Job(tmp_path / "fires").samples(fires).says(rule) is ISSUE
    assert Job(tmp_path / "fine").samples(fine).says(rule) is FINE


def test_the_reason_and_the_verdict_say_the_same(job: Job) -> None:
    """AWS's report says "p95 above 70 %" of a GPU used at 41 %."""
    verdict = job.samples({GPU: [41.0] * MANY}).verdict("LowGPUUtilization", "aws")
    assert (verdict.status, verdict.value) == (ISSUE, 41.0)
    assert "used at 41 %" in verdict.reason


def test_memory_that_fluctuates_does_not_grow_unlike_in_aws_rule(job: Job) -> None:
    draw = np.random.default_rng(0)
    job.samples({GPU_MEMORY: list(50 + 20 * draw.random(MANY) * (draw.random(MANY) > 0.5))})
    assert job.says("GPUMemoryIncrease") is FINE


def steps(count: int, slow: tuple[int, ...] = (), seconds: float = 0.1, long: float = 2.0) -> list:
    found, at = [], 0.0
    for number in range(count):
        took = long if number in slow else seconds
        found.append((STEP, at, took, 1))
        at += took
    return found


def test_step_outliers_cost_time(tmp_path: Path) -> None:
    assert Job(tmp_path / "1").events(*steps(120, slow=tuple(range(10, 110, 10)))).says("StepOutlier") is ISSUE
    assert Job(tmp_path / "2").events(*steps(120)).says("StepOutlier") is FINE
    assert Job(tmp_path / "3").events(*steps(20)).says("StepOutlier") is BLIND
    assert Job(tmp_path / "4").events(*steps(2000, slow=tuple(range(12)))).says("StepOutlier", "aws") is ISSUE


def test_a_stall_is_long_in_steps_or_in_aws_seconds(tmp_path: Path) -> None:
    assert Job(tmp_path / "1").events(*steps(50, slow=(30,), long=40)).says("StalledTrainingRule") is ISSUE
    assert Job(tmp_path / "2").events(*steps(50)).says("StalledTrainingRule") is FINE
    stalled = Job(tmp_path / "3").events(*steps(50, slow=(30,), long=2000))
    assert stalled.says("StalledTrainingRule", "aws") is ISSUE


@pytest.mark.parametrize(("minutes", "verdict"), [(1, FINE), (25, ISSUE)])
def test_the_first_step_comes_in_time(job: Job, minutes: int, verdict: Status) -> None:
    job.samples({CPU: [50.0] * 3}).events((STEP, minutes * 60.0, 0.1, 1))
    assert job.says("MaxInitializationTime") is verdict


@pytest.mark.parametrize(("workers", "verdict"), [(1, ISSUE), (4, FINE), (9, ISSUE)])
def test_there_are_about_as_many_workers_as_cores(job: Job, workers: int, verdict: Status) -> None:
    job.facts(cores=4).events(*[(WORK, float(s), 0.5, 100 + w) for s in range(15) for w in range(workers)])
    assert (job.says("Dataloader"), job.says("Dataloader", "aws")) == (verdict, verdict)


def test_workers_of_two_passes_are_not_at_work_together(job: Job) -> None:
    passes = [(WORK, n / 4, 0.2, 100 + 2 * n + worker) for n in range(60) for worker in range(2)]
    assert job.facts(cores=2).events(*passes).says("Dataloader") is FINE


@pytest.mark.parametrize(("wait", "verdict"), [(0.01, FINE), (0.3, ISSUE)])
def test_waiting_for_pictures_is_measured(job: Job, wait: float, verdict: Status) -> None:
    job.events(*[event for n in range(30) for event in ((WAIT, float(n), wait, 1), (STEP, n + 0.5, 0.1, 1))])
    assert job.says("DataWaiting") is verdict


def test_the_waits_of_evaluation_are_not_those_of_training(job: Job) -> None:
    training = [each for n in range(30) for each in ((WAIT, float(n), 0.01, 1), (STEP, n + 0.5, 0.1, 1))]
    evaluation = [each for n in range(30, 60) for each in ((WAIT, float(n), 0.9, 1), (EVALUATE, n + 0.9, 0.01, 1))]
    job.events(*training, *evaluation)
    assert job.says("DataWaiting") is FINE


def test_statistics_are_never_an_issue(job: Job) -> None:
    job.samples({CPU: [100.0] * 5, MEMORY: [99.0] * 5}).events(*steps(5))
    assert (job.says("OverallSystemUsage"), job.says("OverallFrameworkMetrics")) == (FINE, FINE)
    assert "memory 99 %" in job.verdict("OverallSystemUsage").reason


def test_a_timeline_that_was_cut_off_is_read_as_far_as_it_goes(job: Job) -> None:
    job.events(*steps(120))
    path = next(job.folder.glob("profiler/framework/**/*.json"))
    path.write_text(path.read_text()[:-40])
    assert job.says("StepOutlier") is FINE


shares = st.lists(st.integers(0, 50), min_size=10, max_size=10).filter(any).map(lambda n: np.array(n) / sum(n))


@settings(deadline=None)
@given(shares, shares)
def test_the_distance_of_histograms_is_a_distance(p: np.ndarray, q: np.ndarray) -> None:
    assert 0 <= distance(p, q) <= 1 + 1e-9
    assert distance(p, q) == pytest.approx(distance(q, p))
    assert distance(p, p) == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=8, max_size=60))
def test_growth_is_never_negative_and_none_where_memory_falls(values: list[float]) -> None:
    times = np.arange(len(values), dtype=np.float64)
    assert growth(Series(times, np.array(values))) >= 0
    assert growth(Series(times, np.array(sorted(values, reverse=True)))) == 0
