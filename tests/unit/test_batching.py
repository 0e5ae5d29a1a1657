"""Requests that a worker answers together, and a GPU that fails: a real front door, a real MMS, a real worker.

Only the network's forward pass is told to fail, by the colour of a picture.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from house import Served
from image_classifier.contract import Settings
from image_classifier.serving import java, parts, sizing
from image_classifier.serving.mms import ModelServer
from image_classifier.serving.parts import Part
from image_classifier.serving.single_model import SingleModelDoor

RED, GREEN, WHITE, BLUE = (255, 0, 0), (0, 255, 0), (255, 255, 255), (20, 40, 220)
STAND_IN = """
import os
import torch
from image_classifier.networks import FromPixels
from image_classifier.serving import worker

real = FromPixels.forward

def forward(self, pixels):
    with open(os.environ["PASSES"], "a") as passes:
        passes.write(f"{len(pixels)}\\n")
    colours = pixels[:, 0, 0].tolist()
    if [255, 0, 0] in colours:
        raise RuntimeError("CUDA error: device-side assert triggered")
    if [0, 255, 0] in colours:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return real(self, pixels)

FromPixels.forward = forward
handle = worker.handle
"""
Picture = Callable[..., bytes]


@dataclass
class Opened:
    """A server that was started, and what its network saw."""

    client: TestClient[Any, Any]
    server: ModelServer
    name: str
    passes_file: Path

    async def ask(self, body: bytes) -> tuple[int, Any]:
        answer = await self.client.post("/invocations", data=body, headers={"Content-Type": "image/png"})
        return answer.status, await answer.json()

    async def ask_together(self, *bodies: bytes) -> list[tuple[int, Any]]:
        return list(await asyncio.gather(*map(self.ask, bodies)))

    def passes(self) -> list[int]:
        """The pictures of each pass since the last call."""
        sizes = [int(line) for line in self.passes_file.read_text().split()]
        self.passes_file.write_text("")
        return sizes


@asynccontextmanager
async def serving(folder: Path, passes: Path) -> AsyncIterator[Opened]:
    settings = Settings.from_environment()
    server = ModelServer(folder, settings, sizing.compute(settings, settings.base_dir / "model"))
    door = SingleModelDoor(settings, server)
    try:
        await door.load()
        async with TestClient(Served(door.application())) as client:
            assert door.model
            opened = Opened(client, server, door.model.name, passes)
            opened.passes()  # the warm-up's
            yield opened
    finally:
        await server.stop()


Talk = Callable[[Opened], Awaitable[None]]


@pytest.fixture
def serve(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Serve the small model with one worker and eager torch, talk to it, and end it."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "sockets").mkdir()
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PASSES": str(tmp_path / "passes"),
        "SAGEMAKER_BASE_DIR": str(trained),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "CLASSIFIER_ENGINE": "eager",
    }

    def go(talk: Talk, **more: str) -> None:
        for name, value in {**environ, **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(java, "HANDLER", "stand_in:handle")

        async def visit() -> None:
            async with serving(tmp_path / "sockets", tmp_path / "passes") as opened:
                await talk(opened)

        asyncio.run(visit())

    return go


def test_requests_that_come_together_are_one_pass_and_each_has_its_own_answer(
    serve: Callable[..., None], picture: Picture
) -> None:
    async def talk(opened: Opened) -> None:
        alone = {colour: await opened.ask(picture(colour)) for colour in (WHITE, BLUE)}
        assert opened.passes() == [1, 1]
        answers = await opened.ask_together(picture(WHITE), b"no picture", picture(BLUE), picture(BLUE))
        assert opened.passes() == [3]
        assert [status for status, _ in answers] == [200, 400, 200, 200]
        assert answers[1][1]["code"] == "bad_image"
        for colour, (_, answer) in zip((WHITE, BLUE, BLUE), [answers[0], *answers[2:]], strict=True):
            assert answer["topk_labels"] == alone[colour][1]["topk_labels"]
            assert answer["topk_probs"] == pytest.approx(alone[colour][1]["topk_probs"], abs=1e-4)
        many = await opened.ask_together(*[picture(WHITE)] * 9)
        assert {status for status, _ in many} == {200}
        assert max(opened.passes()) == 4  # and no more

    serve(talk, MMS_BATCH_SIZE="4", MMS_MAX_BATCH_DELAY="2000")


def test_a_lone_request_waits_for_no_other_longer_than_it_may(serve: Callable[..., None], picture: Picture) -> None:
    async def talk(opened: Opened) -> None:
        async with asyncio.timeout(10):  # room for a busy machine; one that waited for three others would never end
            assert (await opened.ask(picture()))[0] == 200
        assert opened.passes() == [1]

    serve(talk, MMS_BATCH_SIZE="4", MMS_MAX_BATCH_DELAY="50")


def test_without_batches_every_request_is_a_pass_of_its_own(serve: Callable[..., None], picture: Picture) -> None:
    async def talk(opened: Opened) -> None:
        answers = await opened.ask_together(*[picture()] * 4)
        assert {status for status, _ in answers} == {200}
        assert opened.passes() == [1, 1, 1, 1]

    serve(talk)


def test_a_worker_that_waits_takes_no_time_of_a_core(serve: Callable[..., None], picture: Picture) -> None:
    async def talk(opened: Opened) -> None:
        assert (await opened.ask(picture()))[0] == 200
        await asyncio.sleep(0.2)  # it stays awake for the next request, but not for long
        before = opened.server.cpu_seconds(opened.name)
        await asyncio.sleep(1)
        assert opened.server.cpu_seconds(opened.name) - before < 0.2

    serve(talk)


def test_of_a_batch_that_does_not_fit_only_what_does_not_fit_alone_is_507(
    serve: Callable[..., None], picture: Picture
) -> None:
    async def talk(opened: Opened) -> None:
        worker = opened.server.workers.ready(opened.name)
        answers = await opened.ask_together(*(picture(colour) for colour in (GREEN, WHITE, WHITE, WHITE)))
        assert sorted(status for status, _ in answers) == [200, 200, 200, 507]
        assert answers[0][1]["code"] == "out_of_memory"
        assert sorted(opened.passes()) == [1, 1, 2, 2, 4]
        assert (await opened.ask(picture()))[0] == 200
        assert opened.server.workers.ready(opened.name) == worker  # it goes on

    serve(talk, MMS_BATCH_SIZE="4", MMS_MAX_BATCH_DELAY="2000")


def test_a_worker_whose_gpu_fails_says_503_and_a_fresh_one_takes_its_place(
    serve: Callable[..., None], picture: Picture
) -> None:
    async def talk(opened: Opened) -> None:
        (worker,) = opened.server.workers.ready(opened.name)
        status, answer = await opened.ask(picture(RED))
        assert (status, answer["code"]) == (503, "device_lost")
        async with asyncio.timeout(60):
            while len(opened.server.workers.ready(opened.name)) != 1 or opened.server.workers.ready(opened.name) == [
                worker
            ]:
                await asyncio.sleep(0.1)
            while (status := (await opened.ask(picture()))[0]) == 503:
                await asyncio.sleep(0.1)
        assert status == 200

    serve(talk)


@given(st.lists(st.tuples(st.dictionaries(st.text(), st.text(), max_size=3), st.binary(), st.integers(100, 599))))
def test_what_is_packed_is_what_comes_out(content: list[tuple[dict[str, str], bytes, int]]) -> None:
    packed = [Part(*each) for each in content]
    message = b"".join(parts.pack(packed))
    assert parts.unpack(message) == packed
    assert all(parts.unpack(message[:length]) is None for length in range(len(message)))
