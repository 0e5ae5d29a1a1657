"""Behind `serve`: starts MMS, opens the front door, loads the model, and ends both in order. Only wires."""

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from image_classifier import machine
from image_classifier.contract import Layout, Settings
from image_classifier.errors import ExitCode, PlatformError, UserError, as_platform_error, exit_code, sentence
from image_classifier.serving import engines, java, pace, private, report, sizing
from image_classifier.serving.front_door import Door, State
from image_classifier.serving.http_server import Runner
from image_classifier.serving.mms import ModelServer
from image_classifier.serving.multi_model import MultiModelDoor
from image_classifier.serving.single_model import SingleModelDoor

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 25  # SageMaker kills 30 s after SIGTERM
REAP_SECONDS = 1.0
Given = TypeVar("Given")


def main() -> None:
    """Serve until a signal ends it."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    try:
        settings = Settings.from_environment()
        logging.getLogger().setLevel(settings.log_level)
        code = asyncio.run(serve(settings))
    except Exception as error:
        known = isinstance(error, UserError) or as_platform_error(error)
        logger.error("%s", sentence(error), exc_info=None if known else error)
        code = exit_code(error)
    sys.exit(code)


async def serve(settings: Settings) -> ExitCode:
    """Run the server; gives the exit code of an orderly end.

    Raises:
        UserError: the model cannot be loaded.
        PlatformError: the port is taken, no folder can be made, memory ran out, all workers died, or MMS ended.
    """
    stop = _stop_event()
    with private.folder() as folder:
        sizes = await _unless(stop, _size_up(settings))
        if sizes is None:
            return ExitCode.OK
        server = ModelServer(folder, settings, sizes)
        _allow_many_connections()
        door = (MultiModelDoor if settings.multi_model else SingleModelDoor)(settings, server)
        runner = Runner(door.application(), shutdown_timeout=1)
        try:
            await _open(runner, settings.host, settings.port)
            machine.keep_what_is_loaded()
            await _unless(stop, _live(door, server))
            await _drain(door, runner)
            return ExitCode.OK
        finally:
            await runner.cleanup()
            await server.stop()


async def _size_up(settings: Settings) -> sizing.Sizing:
    """Look at machine and model, and say what will serve it."""
    folder = Layout(settings.base_dir).model
    gpus, described = report.devices()
    choice = None if settings.multi_model else report.engine(folder, settings, "cuda:0" if gpus else engines.CPU)
    kind = choice.kind if choice else None
    lines = [report.packages(), described]
    lines += [] if settings.multi_model else [report.model(folder, settings)]
    lines += [choice.describe()] if choice else []
    measured = await _pace(settings, folder, choice)
    lines += [measured.describe()] if measured else []
    sizes = sizing.compute(settings, folder, kind, 0 if kind else gpus, measured)
    for line in [*lines, *sizes.explain(), report.limits(settings)]:
        logger.info("%s", line)
    for line in [*java.ignored(), *([] if settings.multi_model else report.cautions(folder, settings))]:
        logger.warning("%s", line)
    return sizes


async def _pace(settings: Settings, folder: Path, choice: engines.Choice | None) -> pace.Pace | None:
    """What batches take on a GPU; None where there are none, or their size was said."""
    if choice is None or choice.device == engines.CPU or settings.batch_size:
        return None
    return await pace.ask(folder, choice.device, settings.threads or 1, settings.startup_seconds)


def _allow_many_connections() -> None:
    """Each connection is an open file; some hosts allow 1024 unless asked."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _open(runner: web.BaseRunner, host: str, port: int) -> None:
    """Listen before the model is loaded: /ping then says that it is loading."""
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        raise PlatformError(f"Port {port} cannot be opened ({error.strerror}); set SAGEMAKER_BIND_TO_PORT.") from None
    logger.info("Listening on port %d; /ping answers 503 until the model is loaded.", port)


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, Given]) -> Given | None:
    """What work gives; None where a signal came first, which ends it."""
    stopping, working = asyncio.create_task(stop.wait()), asyncio.create_task(work)
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() and not stop.is_set() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})


async def _live(door: SingleModelDoor | MultiModelDoor, server: ModelServer) -> None:
    """Load and watch: a failed load, the end of all workers and the end of MMS are errors."""
    await door.load()
    tasks = [asyncio.create_task(endless) for endless in (door.watch(), _reap(server), _until_ended(server))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for task in tasks:
            task.cancel()


async def _until_ended(server: ModelServer) -> None:
    code = await server.wait()
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    raise PlatformError(f"The model server (Java) {how}; if the log above says nothing more, memory may have run out.")


async def _reap(server: ModelServer) -> None:
    while True:
        await asyncio.sleep(REAP_SECONDS)
        server.reap()


async def _drain(door: Door, runner: web.BaseRunner) -> None:
    """Answer what has come; then close the port, and answer what came meanwhile."""
    door.state = State.DRAINING
    logger.info("Shutting down: %d request(s) in flight.", door.in_flight)
    end = asyncio.get_running_loop().time() + DRAIN_SECONDS
    door.deadlines.bring_forward(end - 1)
    await _until_answered(door, end)
    for site in runner.sites:
        await site.stop()
    await _until_answered(door, end)
    if door.in_flight:
        logger.warning("Shutting down with %d request(s) unanswered after %d s.", door.in_flight, DRAIN_SECONDS)


async def _until_answered(door: Door, end: float) -> None:
    await asyncio.sleep(0.05)
    while door.in_flight and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.05)
