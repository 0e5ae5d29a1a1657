"""What a job is said to have cost."""

import time

import pytest
import torch
from torch import nn

from image_classifier import networks
from image_classifier.training.costs import Account, Costs, forward_flops, matrix_peak
from image_classifier.training.metrics import NAMES

CPU = torch.device("cpu")


def test_time_is_counted_for_its_use_and_waiting_apart() -> None:
    costs = Costs(
        accounts={
            "epoch": Account(seconds=10, waiting=3, decode=4, pictures=100, passes=300),
            "probe": Account(seconds=1),
            "validation": Account(seconds=2, waiting=0.5, pictures=50, passes=50),
            "test": Account(seconds=4),
            "saving": Account(seconds=100),
            "compiling": Account(seconds=30, waiting=1),
        },
        started=time.monotonic() - 200,
    )
    seconds = costs.seconds()
    assert seconds == {
        "features": 0,
        "forward_backward": 8,
        "evaluation": 5.5,
        "waiting": 4.5,
        "reading": 0,
        "saving": 100,
        "compiling": 29,
        "report": 0,
        "other": pytest.approx(53, abs=1),
        "job": pytest.approx(200, abs=1),
        "decode": 4,
    }
    assert sum(seconds.values()) - seconds["job"] - seconds["decode"] == pytest.approx(seconds["job"])


def test_the_lines_say_pictures_a_second_and_the_share_of_the_peak() -> None:
    compiling = Account(seconds=50, waiting=9, pictures=70, passes=70)  # is no learning, and no measuring of it
    costs = Costs(accounts={"epoch": Account(10, waiting=2, pictures=100, passes=300), "compiling": compiling})
    said = costs.summary(flops=20, peak=1000.0, processes=2)
    assert said["job_images_per_second"] == pytest.approx(2 * 100 / 10)
    assert said["matrix_peak_share"] == pytest.approx(20 * 300 / (8 * 1000))
    assert set(said) <= set(NAMES)


def test_a_job_that_did_nothing_has_no_costs() -> None:
    said = Costs().summary(flops=1, peak=1.0)
    assert {value for name, value in said.items() if name not in ("other_seconds", "job_seconds")} == {0.0}


def test_waiting_and_decoding_are_counted_in_the_phase_they_happen_in() -> None:
    heard: list[float] = []
    costs = Costs(heard.append)

    def slow() -> range:
        time.sleep(0.05)
        return range(2)

    with costs.during("features", passes=2):
        for _ in costs.waited(number for _ in [0] for number in slow()):
            costs.shown(3)
        started = time.time() - 5
        costs.decoded(started)
    account = costs.accounts["features"]
    assert heard == [started]
    assert 0.05 <= account.waiting <= account.seconds
    assert account.decode == pytest.approx(5, abs=1)
    assert (account.pictures, account.passes) == (6, 12)


def test_operations_of_a_known_layer_are_counted() -> None:
    side = 32
    layer = nn.Conv2d(3, 8, 1, bias=False)
    assert forward_flops(layer, "a layer", side) == 2 * 3 * 8 * side * side
    counted = forward_flops(networks.build("resnet18", 1000), "resnet18", 224)
    assert counted == pytest.approx(2 * 1.814e9, rel=0.01)  # torchvision's figure


def test_the_peak_is_measured_in_a_moment() -> None:
    started = time.monotonic()
    assert 1e8 < matrix_peak(CPU) < 1e14
    assert time.monotonic() - started < 5  # hung, or far too large
