"""One variant of an endpoint, with a machine that starts when the test lets it."""

import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from started import REGION, wait

import ways
from desk import Command, Running
from local_sagemaker.aws import LogStream, Objects
from local_sagemaker.machines import Machine, Machines
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record, Store
from local_sagemaker.variant import StartError, Variant


@dataclass(frozen=True)
class Gated(Machines):
    """Machines that wait for the test before they start."""

    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def serve(self, *arguments: Any) -> Machine:
        self.begun.set()
        assert self.gate.wait(20)
        return super().serve(*arguments)


def make_variant(
    folder: Path, machines: Machines, config: Record | None = None, variables: dict[str, str] | None = None
) -> Variant:
    """A variant of many models, none of which it has."""
    store = Store(folder / "state.sqlite")
    platform = Platform(folder, store, Objects(store), machines)
    container = {"Image": "image", "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/models/"}
    chosen = {"VariantName": "one", "InstanceType": "ml.m5.large", **(config or {})}
    place = platform.place("endpoints", "one")
    return Variant(platform, chosen, container, place, LogStream(REGION, "group", "stream"), variables or {})


def test_a_variant_that_is_stopped_while_its_machine_starts_leaves_none_behind(tmp_path: Path, fake_venv: Path) -> None:
    machines = Gated(ways.InVenv(fake_venv), tmp_path)
    store = Store(tmp_path / "state.sqlite")
    platform = Platform(tmp_path, store, Objects(store), machines)
    container = {"Image": "image", "Mode": "MultiModel", "ModelDataUrl": "s3://bucket/models/"}
    stream = LogStream(REGION, "group", "stream")
    variant = Variant(
        platform,
        {"VariantName": "one", "InstanceType": "ml.m5.large"},
        container,
        platform.place("endpoints", "one"),
        stream,
    )
    refused: list[Exception] = []

    def start() -> None:
        try:
            variant.start()
        except StartError as error:
            refused.append(error)

    starting, stopping = threading.Thread(target=start), threading.Thread(target=variant.stop)
    starting.start()
    assert machines.begun.wait(20)
    stopping.start()
    time.sleep(0.3)
    machines.gate.set()
    for thread in (starting, stopping):
        thread.join(30)
    alive, files = variant.alive, variant.place.exists()
    variant.stop()
    assert (alive, files, [str(error) for error in refused]) == (False, False, ["The variant was stopped."])
    with pytest.raises(StartError, match="was stopped"):
        variant.start()


def test_a_container_that_is_not_healthy_in_its_time_cannot_serve(tmp_path: Path, fake_venv: Path) -> None:
    config = {"ContainerStartupHealthCheckTimeoutInSeconds": 1}
    variant = make_variant(tmp_path, Machines(ways.InVenv(fake_venv), tmp_path), config, {"STAND_IN": "late"})
    begin = time.monotonic()
    with pytest.raises(StartError, match="variant one did not pass the ping health check"):
        variant.start()
    assert 1 <= time.monotonic() - begin < 20
    variant.stop()
    assert not variant.alive


def test_a_program_that_is_deaf_to_sigterm_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab") as output:
        machine = Machine(Running(Command((sys.executable, "-c", _DEAF), grace=2), output), log)
    wait(log.read_text, lambda text: "deaf" in text)
    begin = time.monotonic()
    machine.stop()
    assert 2 <= time.monotonic() - begin < 3.8  # not the grace twice
    assert machine.exit_code == 128 + signal.SIGKILL


_DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
