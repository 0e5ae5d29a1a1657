"""How many requests are answered together: the arithmetic, and the measurement in a process of its own."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_classifier import machine
from image_classifier.compiled import Kind
from image_classifier.contract import Settings
from image_classifier.errors import ExitCode
from image_classifier.serving import entrypoint, pace, report, sizing
from image_classifier.serving.engines import CPU, Choice
from image_classifier.serving.pace import BOUND, SIZES, Pace
from image_classifier.serving.sizing import MIB, Sizing

FAST = Pace({1: 0.004, 2: 0.0041, 4: 0.0042, 8: 0.005, 16: 0.009, 32: 0.019})


@pytest.mark.parametrize(
    ("milliseconds", "batch", "delay"),
    [
        ([4, 4.1, 4.2, 5, 9, 19], 16, 1),  # 32 answers hardly more a second than 16
        ([4, 4.1, 4.2, 5, 9, 15], 32, 2),
        ([10, 12, 15, 19, 25, 40], 8, 2),  # 16 takes longer than it may
        ([20, 40, 80, 160, 320, 640], 1, 0),  # a core: nothing is gained
        ([30, 31, 32, 33, 34, 35], 1, 0),  # a network too slow for any
        ([1], 1, 0),
    ],
)
def test_the_batch_is_the_largest_that_pays_within_the_bound(milliseconds: list[float], batch: int, delay: int) -> None:
    measured = Pace({size: each / 1000 for size, each in zip(SIZES, milliseconds, strict=False)})
    assert (measured.batch, measured.delay) == (batch, delay)


@given(st.lists(st.floats(1e-4, 1), min_size=1, max_size=len(SIZES)))
def test_no_batch_takes_longer_than_it_may(seconds: list[float]) -> None:
    measured = Pace(dict(zip(SIZES, seconds, strict=False)))
    assert measured.batch == 1 or measured.seconds[measured.batch] <= BOUND
    assert measured.delay <= max(1, 1000 * measured.seconds[measured.batch] / pace.SHARE + 0.5)
    assert (measured.delay == 0) is (measured.batch == 1)


def test_the_arithmetic_is_told() -> None:
    assert FAST.describe() == (
        "Measured: a forward pass takes 4.0 ms for 1, 4.1 ms for 2, 4.2 ms for 4, 5.0 ms for 8, 9.0 ms for 16, 19.0 ms "
        "for 32. 16 is the largest batch that takes at most 20 ms, each doubling up to it answering 1.1 times as many "
        "a second or more."
    )


def sizes(measured: Pace | None, monkeypatch: pytest.MonkeyPatch, kind: Kind | None = None, **environ: str) -> Sizing:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory_limit", lambda: 32_768 * MIB)
    return sizing.compute(Settings.from_environment(environ), Path("nowhere"), kind, gpus=2, pace=measured)


@pytest.mark.parametrize(
    ("measured", "environ", "batch", "delay"),
    [
        (None, {}, 1, 0),
        (FAST, {}, 16, 1),
        (FAST, {"MMS_MAX_BATCH_DELAY": "7"}, 16, 7),
        (FAST, {"MMS_MAX_BATCH_DELAY": "0"}, 16, 0),
        (None, {"MMS_BATCH_SIZE": "4"}, 4, 0),
        (None, {"MMS_BATCH_SIZE": "4", "MMS_MAX_BATCH_DELAY": "5"}, 4, 5),
    ],
)
def test_a_worker_gets_what_was_measured_unless_told_otherwise(
    measured: Pace | None, environ: dict[str, str], batch: int, delay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized = sizes(measured, monkeypatch, **environ)
    assert (sized.batch, sized.delay) == (batch, delay)
    assert sized.dispatched == 2 * sized.workers * batch  # a batch fills while the one before is at work
    told = [line for line in sized.explain() if line.startswith("Batches: ")]
    patience = f"which wait at most {delay} ms for each other" if delay else "of those that wait anyway"
    wanted = f"Batches: up to {batch} requests together, {patience}; "
    assert told == (
        [] if batch == 1 else [f"{wanted}{4 * batch} are at work or come next = 2 x 2 worker(s) x {batch}."]
    )


@pytest.mark.parametrize(("environ", "batch"), [({}, 2), ({"MMS_BATCH_SIZE": "1"}, 1), ({"MMS_BATCH_SIZE": "3"}, 3)])
def test_with_a_compiled_network_two_that_wait_anyway_are_answered_together(
    environ: dict[str, str], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in Kind:
        sized = sizes(None, monkeypatch, kind, **environ)
        assert (sized.batch, sized.delay) == (batch, 0)


def test_another_process_measures_the_model(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSIFIER_ENGINE", "eager")
    measured = asyncio.run(pace.ask(trained / "model", CPU, 1, 120))
    assert measured is not None
    assert tuple(measured.seconds) == SIZES
    assert all(seconds > 0 for seconds in measured.seconds.values())


@pytest.mark.parametrize(
    ("patience", "reason"),
    [(120, "could not be measured: No model in "), (0.01, r"could not be measured: it took longer than 0\.01 s")],
)
def test_what_cannot_be_measured_is_said_and_no_batches_are_made(
    tmp_path: Path, patience: float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert asyncio.run(pace.ask(tmp_path, CPU, 1, patience)) is None
    assert re.search(reason, caplog.text)


@pytest.mark.parametrize(
    ("device", "environ", "batch"),
    [("cuda:0", {}, 16), ("cuda:0", {"MMS_BATCH_SIZE": "2"}, 2), (CPU, {}, 1), (None, {}, 1)],
)
def test_the_start_measures_on_a_gpu_only_and_says_so(
    device: str | None,
    environ: dict[str, str],
    batch: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    choice = Choice(None, device, "so it is") if device else None
    monkeypatch.setattr(report, "devices", lambda: (int(device == "cuda:0"), "Device: a stand-in."))
    monkeypatch.setattr(report, "engine", lambda *_: choice)
    monkeypatch.setattr(pace, "ask", lambda *_: asyncio.sleep(0, FAST))
    settings = Settings.from_environment({"SAGEMAKER_BASE_DIR": str(tmp_path), **environ})
    sized = asyncio.run(entrypoint._size_up(settings))
    assert sized.batch == batch
    assert ("Measured: a forward pass takes 4.0 ms for 1" in caplog.text) is (batch == 16)
    assert ("Batches: up to" in caplog.text) is (batch > 1)


def test_a_signal_while_it_is_measured_ends_the_start_and_the_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, said = tmp_path / "python", tmp_path / "pid"
    slow.write_text(f"#!/bin/sh\necho $$ >{said}\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(report, "devices", lambda: (1, "Device: a stand-in."))
    monkeypatch.setattr(report, "engine", lambda *_: Choice(None, "cuda:0", "so it is"))
    settings = Settings.from_environment({"SAGEMAKER_BASE_DIR": str(tmp_path)})

    async def signalled() -> ExitCode:
        serving = asyncio.create_task(entrypoint.serve(settings))
        while not said.exists() or not said.read_text():
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        return await serving

    start = time.monotonic()
    assert asyncio.run(signalled()) is ExitCode.OK
    assert time.monotonic() - start < 10
    assert not psutil.pid_exists(int(said.read_text()))
