"""One variant of an endpoint, with a machine that starts when the test lets it."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from started import REGION

import ways
from local_sagemaker.aws import LogStream, Objects
from local_sagemaker.machines import Machine, Machines
from local_sagemaker.platform import Platform
from local_sagemaker.store import Store
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
