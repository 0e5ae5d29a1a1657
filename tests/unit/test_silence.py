"""A model server that says nothing: Java stuck, or every worker, is told from one that works or has nothing to do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from house import JPEG, House, Run
from image_classifier.serving import probe, single_model
from image_classifier.serving.front_door import Model, State
from image_classifier.serving.gate import Gate
from image_classifier.serving.probe import HUNG, STUCK, Probe
from image_classifier.serving.single_model import SingleModelDoor


@dataclass
class Silent:
    """The part of ModelServer that a probe asks."""

    java: bool = True
    spent: float = 0.0
    asked: int = 0

    async def answers(self) -> bool:
        self.asked += 1
        return self.java

    def cpu_seconds(self, _name: str) -> float:
        return self.spent


@dataclass
class Watched:
    """A probe of a server with some workers, and its clock."""

    server: Silent
    probe: Probe
    model: Model
    monkeypatch: pytest.MonkeyPatch
    now: float = 100.0
    uploads: int = 0  # requests with large bodies

    def faults(self, seconds: int, cpu: float = 0.0, alive: int = 2) -> list[str]:
        """What it says in each of the next seconds, in which workers spend so much CPU time."""
        return [self._fault(cpu, alive) for _ in range(seconds)]

    def _fault(self, cpu: float, alive: int) -> str:
        self.now += 1
        self.server.spent += cpu
        self.monkeypatch.setattr(time, "monotonic", lambda: self.now)
        at_work = self.model.gate.inside + self.uploads
        door = SimpleNamespace(probe=self.probe, alive=alive, _at_work=lambda _model: at_work)
        return asyncio.run(SingleModelDoor._fault(door, self.model))  # type: ignore[arg-type]


def watched(monkeypatch: pytest.MonkeyPatch, requests: int = 0, slow: bool = False) -> Watched:
    server, gate = Silent(), Gate(4, 10)
    gate.inside = requests
    model = Model("model", Path(), own_formats=not slow, gate=gate)
    return Watched(server, Probe(server, heard=100.0), model, monkeypatch)  # type: ignore[arg-type]


def test_java_that_does_not_answer_is_a_fault_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    seen.server.java = False
    assert seen.faults(8) == [""] * 5 + [STUCK] * 3
    seen.server.java = True
    assert seen.faults(20) == [""] * 20
    assert seen.server.asked < 10  # not each second


def test_workers_that_have_requests_and_spend_no_time_on_them_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch, requests=2)
    assert seen.faults(10) == [""] * 7 + [HUNG] * 3
    assert seen.faults(2, cpu=0.5) == [""] * 2
    assert seen.faults(4)[-1] == HUNG
    seen.probe.heard = seen.now
    assert seen.faults(5) == [""] * 5


def test_workers_that_hang_on_large_bodies_are_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch, requests=1)
    seen.uploads = 1
    assert seen.faults(10) == [""] * 7 + [HUNG] * 3


@pytest.mark.parametrize(
    ("requests", "slow", "cpu", "alive"),
    [
        (2, False, 0.5, 2),  # they work
        (1, False, 0.0, 2),  # a worker is free
        (0, False, 0.0, 2),  # nothing is asked
        (2, True, 0.0, 2),  # a script of the user's may wait
    ],
)
def test_silence_for_a_reason_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, requests: int, slow: bool, cpu: float, alive: int
) -> None:
    assert watched(monkeypatch, requests, slow).faults(40, cpu, alive) == [""] * 40


def test_a_probe_hears_each_answer_and_the_gate_counts_who_is_inside(run: Run) -> None:
    async def talk(house: House) -> None:
        house.door.probe.heard, house.worker.delay = 0.0, 0.2
        asked = asyncio.ensure_future(house.client.post("/invocations", data=b"x", headers=JPEG))
        await house.worker.started.wait()
        assert house.door.models_loaded()[0].gate.inside == 1
        assert (await asked).status == 200
        assert time.monotonic() - house.door.probe.heard < 2
        assert house.door.models_loaded()[0].gate.inside == 0

    run(talk)


def test_ping_says_503_while_there_is_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(house: House) -> None:
        monkeypatch.setattr(probe, "SILENT_SECONDS", 0.0)
        server, door = Silent(java=False), house.door
        door.server.workers.ready = lambda _name: [1, 2]  # type: ignore[method-assign]
        door.probe.server = server  # type: ignore[assignment]
        watching = asyncio.create_task(door.watch())
        await asyncio.sleep(1.5)  # two looks, a second apart
        assert door.state is State.NO_WORKERS
        await house.error(await house.client.get("/ping"), 503, "not_ready")
        server.java = True
        await asyncio.sleep(1)
        assert (await house.client.get("/ping")).status == 200
        watching.cancel()

    run(talk)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to be silent for long."""
    monkeypatch.setattr(probe, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(probe, "PICTURE_SECONDS", 0.2)
    monkeypatch.setattr(single_model, "WATCH_SECONDS", 0.02)


@asynccontextmanager
async def watching(house: House) -> AsyncIterator[None]:
    house.door.server.workers.ready = lambda _name: [1, 2]  # type: ignore[method-assign]
    house.door.probe.server = Silent()  # type: ignore[assignment]
    task = asyncio.create_task(house.door.watch())
    try:
        yield
    finally:
        task.cancel()


async def pinged(house: House, status: int) -> None:
    while (await house.client.get("/ping")).status != status:
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("status", "delay"), [(500, 0.0), (503, 0.0), (200, 1.5)])
def test_ping_is_503_where_nobody_asks_and_two_pictures_in_a_row_are_not_answered(
    run: Run, status: int, delay: float
) -> None:
    async def talk(house: House) -> None:
        house.worker.status, house.worker.delay = status, delay
        async with watching(house):
            await asyncio.wait_for(pinged(house, 503), 5)
            assert len(house.worker.seen) == 2
            assert house.door.in_flight == 0
            house.worker.status, house.worker.delay = 200, 0.0
            await asyncio.wait_for(pinged(house, 200), 5)

    run(talk)


@pytest.mark.usefixtures("soon")
def test_one_picture_that_is_not_answered_is_no_fault(run: Run) -> None:
    async def talk(house: House) -> None:
        house.worker.status = 500
        async with watching(house):
            await house.worker.started.wait()
            house.worker.status = 200
            await asyncio.sleep(1)
            assert house.door.state is State.READY
            assert 2 <= len(house.worker.seen) <= 5

    run(talk)


@pytest.mark.usefixtures("soon")
def test_no_picture_is_sent_in_the_way_of_requests(run: Run) -> None:
    async def talk(house: House) -> None:
        async with watching(house):
            house.worker.delay = 0.8
            await asyncio.gather(*(house.client.post("/invocations", data=b"x", headers=JPEG) for _ in range(2)))
            house.worker.delay = 0.0
            for _ in range(20):
                await house.client.post("/invocations", data=b"x", headers=JPEG)
                await asyncio.sleep(0.05)
        assert {body for _, body in house.worker.seen} == {b"x"}

    run(talk)


@pytest.mark.usefixtures("soon")
def test_no_picture_is_sent_to_a_script(run: Run) -> None:
    async def talk(house: House) -> None:
        async with watching(house):
            await asyncio.sleep(1)
        assert house.worker.seen == []

    run(talk, own_formats=False)


def test_a_server_that_shuts_down_is_not_told_otherwise(run: Run) -> None:
    async def talk(house: House) -> None:
        door, done = house.door, asyncio.Event()

        async def nothing(*_arguments: object) -> str:
            return "model"

        async def unload(_name: str) -> None:
            assert door.state is State.DRAINING
            done.set()

        backend = {"can_start_workers": lambda _name: False, "unload": unload, "load": nothing}
        for name, function in backend.items():
            setattr(door.server, name, function)
        door.state = State.DRAINING
        async with watching(house):
            await asyncio.wait_for(done.wait(), 5)
        assert door.state is State.DRAINING

    run(talk)
