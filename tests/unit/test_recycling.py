"""A worker that has grown is replaced between two requests: while nobody is at work, and nobody is lost."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from calls import context
from house import JPEG, House, Run
from image_classifier.serving import gate, handler, recycling, single_model, wire, worker
from image_classifier.serving.gate import Gate
from image_classifier.serving.sizing import MIB


def test_a_gate_is_emptied_after_those_who_came_before_and_lets_in_those_who_come_later() -> None:
    async def go() -> None:
        gate, order = Gate(2, 10), list[str]()

        async def visit(name: str) -> None:
            await gate.enter()
            order.append(name)
            await asyncio.sleep(0.02)
            gate.leave()

        async def empty() -> None:
            async with gate.emptied(5):
                order.append("empty")
                await asyncio.sleep(0.05)
                order.append("still empty")

        before = [asyncio.create_task(visit("before")) for _ in range(4)]
        await asyncio.sleep(0)
        emptying = asyncio.create_task(empty())
        await asyncio.sleep(0.001)
        after = [asyncio.create_task(visit("after")) for _ in range(3)]
        await asyncio.gather(emptying, *before, *after)
        assert order == ["before"] * 4 + ["empty", "still empty"] + ["after"] * 3

    asyncio.run(go())


def test_who_stays_inside_for_too_long_is_not_waited_for_and_no_slot_is_lost() -> None:
    async def go() -> None:
        gate = Gate(2, 0)
        await gate.enter()
        with pytest.raises(TimeoutError):
            async with gate.emptied(0.05):
                raise AssertionError
        await asyncio.wait_for(gate.enter(), 1)
        gate.leave()
        gate.leave()
        async with gate.emptied(0.05):
            pass

    asyncio.run(go())


def test_a_worker_that_says_it_has_grown_is_replaced_while_no_request_is_at_work(run: Run) -> None:
    async def talk(house: House) -> None:
        replaced: list[tuple[str, int, int]] = []

        async def replace_worker(name: str, pid: int) -> None:
            replaced.append((name, pid, len(house.door._working)))
            await asyncio.sleep(0.1)

        house.door.server.replace_worker = replace_worker  # type: ignore[method-assign]
        await house.door.recycling.replace_grown()
        house.worker.headers[wire.GROWN], house.worker.delay = "4242", 0.2
        assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200
        del house.worker.headers[wire.GROWN]
        asked = [asyncio.ensure_future(house.client.post("/invocations", data=b"x", headers=JPEG)) for _ in range(8)]
        await house.worker.started.wait()
        await asyncio.sleep(0.1)
        await house.door.recycling.replace_grown()
        assert replaced == [("model", 4242, 0)]
        assert {(await each).status for each in asked} == {200}
        await house.door.recycling.replace_grown()
        assert len(replaced) == 1

    run(talk)


def test_a_worker_whose_requests_take_long_is_replaced_and_others_are_held_up_for_a_quarter_of_the_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "FIRST_SECONDS", 0.2)

    async def talk(house: House) -> None:
        replaced: list[int] = []

        async def replace_worker(_name: str, pid: int) -> None:
            replaced.append(pid)

        async def call() -> None:
            while not replaced:
                assert (await house.client.post("/invocations", data=b"x", headers=JPEG)).status == 200

        house.door.server.replace_worker = replace_worker  # type: ignore[method-assign]
        house.worker.headers[wire.GROWN], house.worker.delay = "4242", 0.6
        calling = [asyncio.ensure_future(call()) for _ in range(2)]
        began, closed = time.monotonic(), list[float]()
        while not replaced:
            start = time.monotonic()
            await house.door.recycling.replace_grown()
            closed.append(time.monotonic() - start)
            await asyncio.sleep(0.02)
        assert replaced == [4242]
        assert sum(closed[:-1]) < (time.monotonic() - began) / 4 + 0.1
        await asyncio.gather(*calling)

    run(talk)


def test_ping_stays_honest_while_the_requests_at_work_are_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(single_model, "WATCH_SECONDS", 0.02)

    async def talk(house: House) -> None:
        ready = [2]
        house.door.server.workers.ready = lambda _name: list(range(ready[0]))  # type: ignore[method-assign]
        house.door.recycling.grown[4242] = house.door.models_loaded()[0]
        house.worker.delay = 1.5
        asking = asyncio.ensure_future(house.client.post("/invocations", data=b"x", headers=JPEG))
        await house.worker.started.wait()
        watching = asyncio.create_task(house.door.watch())
        await asyncio.sleep(0.2)
        ready[0] = 0
        await asyncio.sleep(0.3)
        assert (await house.client.get("/ping")).status == 503
        watching.cancel()
        await asking

    run(talk)


def test_a_gate_is_not_closed_again_soon_after_it_was_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience, closed = gate.Patience(most=27.5), []
    for _ in range(600):
        try:
            closed.append(patience.begin())
            now += closed[-1]
            patience.was_too_short()
        except TimeoutError:
            now += 1
    assert closed[:5] == [5, 10, 20, 27.5, 27.5]
    assert sum(closed) <= (now - 100) / 4 + closed[-1]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """What the worker's process takes, as the test says."""
    told = SimpleNamespace(mib=100)
    monkeypatch.setattr(worker, "_resident", lambda: told.mib * MIB)
    monkeypatch.setattr(handler, "handle", lambda data, _context: [b"x"] * len(data))
    worker._most.cache_clear()
    worker._deadline.cache_clear()
    yield told
    worker._most.cache_clear()


@pytest.mark.parametrize(
    ("mark", "before", "after", "grown"),
    [("200", 100, 201, True), ("200", 100, 200, False), ("200", 250, 300, False), ("", 100, 10_000, False)],
)
def test_a_worker_says_so_when_it_grew_beyond_the_mark(
    sizes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, mark: str, before: int, after: int, grown: bool
) -> None:
    monkeypatch.setenv("CLASSIFIER_WORKER_MAX_MB", mark)
    sizes.mib = before
    worker._most()  # as at the end of a load
    sizes.mib = after
    made = context(Path("model"), {}, {})
    worker.handle([{"body": b""}, {"body": b""}], made)
    said = [made.get_response_headers(index).get(wire.GROWN) for index in range(2)]
    assert said == [str(os.getpid()) if grown else None] * 2
