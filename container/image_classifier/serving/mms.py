"""The model server behind the front door: multi-model-server, which starts the workers of each model; see workers.py.

Models are loaded through the management API, in two steps: first the process that workers are forked from, then the
workers. MMS waits for the first on a thread that other connections need, and when that process ends early it waits
its full minute: so this step has a deadline of ours, and is tried again. No name is used twice in MMS, so nothing that
is left of an earlier load can be in the way.
"""

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from image_classifier.contract import Settings
from image_classifier.errors import PlatformError, RequestError
from image_classifier.serving import java, private, processes
from image_classifier.serving.sizing import Sizing
from image_classifier.serving.wire import load_error_file
from image_classifier.serving.workers import Workers

logger = logging.getLogger(__name__)

START_SECONDS = 60
STOP_SECONDS = 5
PARENT_SECONDS = 20  # for Python to start: 0.3 s on an idle core
PARENT_ATTEMPTS = 3
UNLOAD_SECONDS = 20
END_SECONDS = 3  # for a worker to end by itself
STATUS_SECONDS = 2
REPLACE_SECONDS = 30


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
        self._numbers = itertools.count(1)
        self._parents: dict[str, int | None] = {}  # process ids, by the model's name
        self.workers = Workers(self.sizing.batch, self.sizing.delay / 1000, self.settings.request_seconds)
        connector = aiohttp.UnixConnector(path=str(self.folder / "management.sock"), limit=0)
        self._management = aiohttp.ClientSession(base_url="http://mms", connector=connector)

    async def start(self) -> None:
        """Listen for workers, start Java and wait until it answers.

        Raises:
            PlatformError: it ended, or did not answer in time.
        """
        await self.workers.listen(self.folder)
        config = self.folder / private.SETTINGS
        config.write_text(java.properties(self.folder, self.settings, self.sizing), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            *java.command(self.folder, config, self.sizing, self.settings),
            cwd=self.folder,
            env=java.environment(self.folder, self.sizing),
            start_new_session=True,
        )
        for _ in range(START_SECONDS * 20):
            if self._process.returncode is not None:
                raise PlatformError(f"The model server ended at its start with exit code {self._process.returncode}.")
            if await self.answers():
                return
            await asyncio.sleep(0.05)
        raise PlatformError(f"The model server did not answer within {START_SECONDS} seconds.")

    async def answers(self) -> bool:
        """Whether Java does."""
        try:
            return (await self._manage("GET", "/models", STATUS_SECONDS))[0] == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def load(self, model_dir: Path) -> str:
        """Load a model in its workers; gives the name it has in MMS.

        Raises:
            RequestError: 507 no memory for it, 500 it cannot be loaded; says why.
        """
        for _ in range(PARENT_ATTEMPTS):
            name = f"m{next(self._numbers)}"
            try:
                if await self._start_parent(name, model_dir):
                    await self._start_workers(name, model_dir)
                    return name
            except RequestError:
                await self.unload(name)
                raise
            except aiohttp.ClientError:
                raise RequestError(503, "unavailable", "The model server does not answer; try again.") from None
            logger.warning("The model server did not start a process for %s; trying again.", model_dir)
            await self.unload(name)
        raise RequestError(503, "not_started", f"No process could be started for the model in {model_dir}; try again.")

    async def _start_parent(self, name: str, model_dir: Path) -> bool:
        query = {"url": str(model_dir), "model_name": name, "initial_workers": "0"}
        try:
            status, _ = await self._manage("POST", "/models", PARENT_SECONDS, query)
        except TimeoutError:
            return False
        if status == 200 and self._process:
            self._parents[name] = await asyncio.to_thread(processes.child_of, self._process.pid, name)
        return status == 200

    def can_start_workers(self, name: str) -> bool:
        """Whether a worker of a model that dies is followed by another: what they are forked from lives."""
        parent = self._parents.get(name)
        return parent is not None and processes.lives(parent)

    async def _start_workers(self, name: str, model_dir: Path) -> None:
        query = {"min_worker": str(self.sizing.workers), "synchronous": "true"}
        self.workers.expect(name)
        try:
            status, _ = await self._manage("PUT", f"/models/{name}", self.settings.startup_seconds, query)
        except TimeoutError:
            reason = f"was not loaded within {self.settings.startup_seconds} seconds (SAGEMAKER_STARTUP_TIMEOUT)."
            raise RequestError(500, "model_not_loaded", f"The model in {model_dir} {reason}") from None
        if status in (200, 210):  # 210: loaded, and a worker died since
            return
        reason = _last_word(load_error_file(self.folder, name))
        if reason:
            raise RequestError(500, "model_not_loaded", f"The model in {model_dir} cannot be loaded: {reason}")
        # a worker that fails says why: this one was killed, as the kernel does when memory runs out
        raise RequestError(507, "out_of_memory", f"The model in {model_dir} does not fit into memory.")

    async def unload(self, name: str) -> None:
        """End a model's workers, and what MMS leaves of them: a worker that hangs, a socket, a reason."""
        self.workers.dismiss(name)
        found = await asyncio.to_thread(processes.of_model, name, self.folder)
        with suppress(TimeoutError, aiohttp.ClientError):
            await self._manage("DELETE", f"/models/{name}", UNLOAD_SECONDS)
        found += await asyncio.to_thread(processes.of_model, name, self.folder)  # MMS may have started one meanwhile
        await asyncio.to_thread(psutil.wait_procs, [process for process, _ in found], END_SECONDS)
        for process, words in found:
            with suppress(psutil.Error):
                process.kill()
            Path(words[words.index("--sock-name") + 1]).unlink(missing_ok=True)
        load_error_file(self.folder, name).unlink(missing_ok=True)
        self._parents.pop(name, None)

    def cpu_seconds(self, name: str) -> float:
        """CPU time that a model's ready workers have spent."""
        spent = 0.0
        for pid in self.workers.ready(name):
            with suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()
                spent += times.user + times.system
        return spent

    async def replace_worker(self, name: str, pid: int) -> None:
        """End a worker that has no request; MMS starts another. Waits until one is ready, where this was the last."""
        if pid not in self.workers.ready(name):  # not of this model, or ended by itself
            return
        with suppress(psutil.Error):
            psutil.Process(pid).kill()
        while pid in self.workers.ready(name):
            await asyncio.sleep(0.01)
        end = asyncio.get_running_loop().time() + REPLACE_SECONDS
        while not self.workers.ready(name) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)

    async def _manage(
        self, method: str, path: str, seconds: float, query: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Call the management API; gives status and body."""
        timeout = aiohttp.ClientTimeout(seconds)
        async with self._management.request(method, path, params=query, timeout=timeout) as response:
            return response.status, await response.read()

    async def wait(self) -> int:
        """Wait for the process to end; gives its exit code."""
        if self._process is None:
            raise RuntimeError("The model server was not started.")
        return await self._process.wait()

    def reap(self) -> None:
        """Take leave of dead workers whose parent died before them: as PID 1, nobody else does."""
        for child in psutil.Process().children():
            with suppress(psutil.Error, ChildProcessError):
                if child.status() == psutil.STATUS_ZOMBIE and self._process and child.pid != self._process.pid:
                    os.waitpid(child.pid, os.WNOHANG)

    async def stop(self) -> None:
        """End Java and its workers."""
        await self.workers.close()
        await self._management.close()
        if self._process is None:
            return
        if self._process.returncode is None:
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
