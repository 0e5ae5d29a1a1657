"""Behind `serve`: starts MMS, opens the front door, loads the model, and ends both in order. Only wires."""

import asyncio
import base64
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from image_classifier.contract import Layout, Settings
from image_classifier.errors import ExitCode, PlatformError, RequestError, UserError, exit_code, sentence
from image_classifier.serving import sizing
from image_classifier.serving.front_door import FrontDoor, State
from image_classifier.serving.location import find
from image_classifier.serving.mms import MODEL, ModelServer
from image_classifier.serving.multi_model import MultiModelDoor

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 25  # SageMaker kills 30 s after SIGTERM
WATCH_SECONDS = 1.0
# a grey PNG of one pixel
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def main() -> None:
    """Serve until a signal ends it."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    try:
        settings = Settings.from_environment()
        logging.getLogger().setLevel(settings.log_level)
        code = asyncio.run(serve(settings))
    except UserError as error:
        logger.error("%s", error)
        code = ExitCode.USER
    except PlatformError as error:
        logger.error("%s", error)
        code = ExitCode.PLATFORM
    except Exception as error:
        logger.exception("%s", sentence(error))
        code = exit_code(error)
    sys.exit(code)


async def serve(settings: Settings) -> ExitCode:
    """Run the server; gives the exit code of an orderly end.

    Raises:
        UserError: the model cannot be loaded.
        PlatformError: the port is taken, memory ran out, or MMS ended.
    """
    model_dir = Layout(settings.base_dir).model
    sizes = sizing.compute(settings, model_dir)
    logger.info("%s", sizes.explain())
    stop = _stop_event()
    folder = Path(tempfile.mkdtemp(prefix="serve-"))
    server = ModelServer(folder, settings, sizes)
    door = _make_door(settings, server, model_dir)
    runner = web.AppRunner(door.application(), access_log=None, handle_signals=False, shutdown_timeout=1)
    try:
        await _open(runner, settings.host, settings.port)
        loading = asyncio.create_task(_load(door, server, model_dir))
        return await _until_stopped(door, server, loading, stop)
    finally:
        await runner.cleanup()
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _make_door(settings: Settings, server: ModelServer, model_dir: Path) -> FrontDoor:
    if settings.multi_model:
        return MultiModelDoor(settings, server)
    return FrontDoor(settings, server, own_formats=find(model_dir, settings) is None)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _open(runner: web.AppRunner, host: str, port: int) -> None:
    """Listen before the model is loaded: /ping then says that it is loading."""
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise PlatformError(f"Port {port} cannot be opened ({error.strerror}); set SAGEMAKER_BIND_TO_PORT.") from None
    logger.info("Listening on port %d; /ping answers 503 until the model is loaded.", port)


async def _load(door: FrontDoor, server: ModelServer, model_dir: Path) -> None:
    """Start MMS and, unless models are loaded on request, load the one and only model.

    Raises:
        UserError: the model cannot be loaded, or does not answer a picture.
        PlatformError: it does not fit into memory, or MMS does not start.
    """
    if isinstance(door, MultiModelDoor):
        await server.start()
        logger.info("Ready: models are loaded on request.")
    elif not model_dir.is_dir():
        raise UserError(f"There is no directory {model_dir}; mount the content of a model.tar.gz there.")
    else:
        await server.start()
        try:
            await server.register(MODEL, model_dir)
            if door.own_formats:
                await door.warm_up(_PICTURE)
        except RequestError as error:
            raise (PlatformError if error.status == 507 else UserError)(error.message) from None
        logger.info("Ready: the model in %s answers.", model_dir)
    door.state = State.READY


async def _until_stopped(
    door: FrontDoor, server: ModelServer, loading: asyncio.Task[None], stop: asyncio.Event
) -> ExitCode:
    """Wait for a signal (orderly end), a failed load or the end of MMS (errors)."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        watching = asyncio.create_task(_watch(door, server))
        ended = asyncio.create_task(server.wait())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        if ended.done() and not stop.is_set():
            raise PlatformError(f"The model server ended with exit code {ended.result()}.")
        ended.cancel()
    else:
        loading.cancel()
    stopping.cancel()
    await _drain(door)
    return ExitCode.OK


async def _watch(door: FrontDoor, server: ModelServer) -> None:
    """Keep /ping honest: ready only while a worker is."""
    while not isinstance(door, MultiModelDoor):  # without a model, there is no worker to watch
        await asyncio.sleep(WATCH_SECONDS)
        state = State.READY if await server.ready_workers() else State.NO_WORKERS
        if state is not door.state:
            logger.warning("%s", "Workers are ready again." if state is State.READY else state)
            door.state = state


async def _drain(door: FrontDoor) -> None:
    door.state = State.DRAINING
    logger.info("Shutting down: %d request(s) in flight.", door.in_flight)
    for _ in range(DRAIN_SECONDS * 20):
        if not door.in_flight:
            return
        await asyncio.sleep(0.05)
    logger.warning("Shutting down with %d request(s) unanswered after %d s.", door.in_flight, DRAIN_SECONDS)
