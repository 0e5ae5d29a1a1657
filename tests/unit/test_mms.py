"""The real model server, with a handler that loads at once: its life cycle, again and again."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from image_classifier.contract import Settings
from image_classifier.errors import RequestError
from image_classifier.serving import java, mms, processes, sizing
from image_classifier.serving.mms import ModelServer

HANDLER = """
import os, pathlib, signal, time
from image_classifier.serving import worker
def handle(data, context):
    if data is not None:
        return [b"answer" for _ in data]
    folder = context.system_properties["model_dir"]
    if os.path.exists(folder + "/killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.path.exists(folder + "/broken"):
        word = os.environ["CLASSIFIER_PRIVATE_DIR"] + "/load-error-" + context.model_name
        open(word, "w").write("the spring is broken")
        raise ValueError("the spring is broken")
    if os.path.exists(folder + "/slow"):
        time.sleep(60)
    global line
    line = worker.call_in(pathlib.Path(os.environ["CLASSIFIER_PRIVATE_DIR"]), context.model_name)
"""
Talk = Callable[[ModelServer], Awaitable[None]]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models named after what their load does."""
    (tmp_path / "quick_handler.py").write_text(HANDLER)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setattr(java, "HANDLER", "quick_handler:handle")
    for name in ("good", "broken", "killed", "slow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    return tmp_path


@asynccontextmanager
async def running(folder: Path, **environ: str) -> AsyncIterator[ModelServer]:
    settings = Settings.from_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environ})
    server = ModelServer(folder, settings, sizing.compute(settings, folder / "good"))
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


def run(folder: Path, talk: Talk, **environ: str) -> None:
    async def visit() -> None:
        async with running(folder, **environ) as server:
            await talk(server)

    asyncio.run(visit())


def workers(folder: Path) -> list[int]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if str(folder) in words and any("model_service_worker" in word for word in words):
            found.append(process.pid)
    return found


def lasting(folder: Path) -> set[str]:
    """Files, but for the pipes that a killed worker may leave: the next worker of ours removes them (worker.py)."""
    return {path.name for path in folder.iterdir() if not path.match("*-std???")}


async def settled(folder: Path, number: int) -> None:
    for _ in range(100):
        if len(workers(folder)) == number:
            return
        await asyncio.sleep(0.1)
    assert len(workers(folder)) == number


async def ready(server: ModelServer, name: str) -> None:
    """A process is there before it has loaded its model."""
    for _ in range(100):
        if server.workers.ready(name):
            return
        await asyncio.sleep(0.1)
    assert server.workers.ready(name)


async def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while processes.lives(pid):
        await asyncio.sleep(0.01)


def test_models_come_and_go_without_a_trace(models: Path) -> None:
    async def talk(server: ModelServer) -> None:
        kept = await server.load(models / "good")
        files = lasting(models)
        for _ in range(8):
            name = await server.load(models / "good")
            await server.unload(name)
            with pytest.raises(RequestError, match="the spring is broken"):
                await server.load(models / "broken")
            assert len(server.workers.ready(kept)) == 1
        await settled(models, 2)  # the one that was kept, and the process it was forked from
        assert lasting(models) == files

    run(models, talk)


def test_without_the_process_that_workers_are_forked_from_none_can_start(models: Path) -> None:
    async def talk(server: ModelServer) -> None:
        name = await server.load(models / "good")
        assert server.can_start_workers(name)
        parent, worker = sorted(workers(models))
        await killed(worker)
        await settled(models, 2)
        await ready(server, name)
        assert server.can_start_workers(name)
        await killed(parent)
        assert not server.can_start_workers(name)
        assert len(server.workers.ready(name)) == 1  # it goes on
        await server.unload(name)
        assert not processes.of_model(name, models)

    run(models, talk)


def test_a_load_that_is_killed_is_507_and_leaves_nothing(models: Path) -> None:
    async def talk(server: ModelServer) -> None:
        with pytest.raises(RequestError, match="does not fit into memory") as caught:
            await server.load(models / "killed")
        assert caught.value.status == 507
        await settled(models, 0)

    run(models, talk)


def test_a_load_that_hangs_ends_at_its_deadline(models: Path) -> None:
    async def talk(server: ModelServer) -> None:
        with pytest.raises(RequestError, match=r"was not loaded within 2 seconds \(SAGEMAKER_STARTUP_TIMEOUT\)"):
            await server.load(models / "slow")
        await settled(models, 0)

    run(models, talk, SAGEMAKER_STARTUP_TIMEOUT="2")


def test_a_process_that_does_not_start_is_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = models / "python"
    python.write_text(
        f'#!/bin/sh\n[ -e {models}/tried ] || {{ touch {models}/tried; exit 1; }}\nexec {sys.executable} "$@"\n'
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(mms, "PARENT_SECONDS", 8)

    async def talk(server: ModelServer) -> None:
        name = await server.load(models / "good")
        assert (models / "tried").exists()
        assert len(server.workers.ready(name)) == 1

    run(models, talk)


def test_variables_that_were_copied_from_another_image_do_not_move_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(server: ModelServer) -> None:
        assert await server.answers()

    monkeypatch.setenv("MMS_MANAGEMENT_ADDRESS", "http://127.0.0.1:0")
    monkeypatch.setenv("MMS_CONFIG_FILE", "/etc/sagemaker-mms.properties")
    run(models, talk)
