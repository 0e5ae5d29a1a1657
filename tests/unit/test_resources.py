"""Samples of the machine, in the lines of SageMaker's host agent."""

import json
import logging
import re
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from image_classifier.insight import resources
from image_classifier.insight.resources import Gpu, Machine, Resources, Sample

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")


def test_one_file_a_minute_with_one_object_a_line(tmp_path: Path) -> None:
    sampler = Resources(tmp_path, "algo-2", interval=0.02)
    sampler.start()
    time.sleep(0.1)
    sampler.close()
    paths = list(tmp_path.glob("system/incremental/*/*.json"))
    assert 1 <= len(paths) <= 2
    assert re.fullmatch(r"\d{10}\.algo-2\.json", paths[0].name)
    assert int(paths[0].name[:10]) % 60 == 0
    rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert {row["NodeId"] for row in rows} == {"algo-2"}
    assert all(abs(row["Timestamp"] - time.time()) < 60 for row in rows)
    assert all(0 <= row["Value"] <= 100 for row in rows if row["Type"] in ("cpu", "memory"))


def test_a_share_is_of_the_time_since_the_sample_before() -> None:
    before = Times(10, 0, 10, 70, 10, 0, 0, 0, 0, 0)
    after = Times(14, 0, 11, 74, 11, 0, 0, 0, 4, 0)  # 10 more: 5 busy, 4 idle, 1 waiting; guest is within user
    assert resources._shares(before, after) == pytest.approx((50.0, 10.0))
    assert resources._shares(before, before) == (100.0, 0.0) or resources._shares(before, before)[1] == 0


def test_a_busy_core_is_seen_as_busy() -> None:
    machine = Machine()
    end = time.time() + 0.3
    while time.time() < end:
        pass
    busiest = max(sample.value for sample in machine.sample(time.time()) if sample.dimension == "CPUUtilization")
    assert busiest > 50


def test_gpus_are_sampled_through_nvml() -> None:
    nvml = SimpleNamespace(
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=20, total=80),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=93),
    )
    assert list(Gpu(nvml, 1).sample()) == [
        Sample("gpu", "gpu1", "GPUUtilization", 93.0),
        Sample("gpu", "gpu1", "GPUMemoryUtilization", 25.0),
    ]


def test_a_place_that_cannot_be_written_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    sampler = Resources(Path("/dev/null/x"), "algo-1", interval=0.01)
    with caplog.at_level(logging.WARNING):
        sampler.start()
        time.sleep(0.1)
        sampler.close()
    assert [record.message.split(" (")[0] for record in caplog.records] == ["Profiler: system metrics off"]


def test_what_was_not_started_can_be_closed(tmp_path: Path) -> None:
    Resources(tmp_path, "algo-1").close()
