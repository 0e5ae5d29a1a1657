"""One production variant: a model directory and the `serve` that answers for it."""

import hashlib
import http.client
import shutil
import tarfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from local_sagemaker import archive
from local_sagemaker.aws import LogStream, Uri
from local_sagemaker.errors import ApiError
from local_sagemaker.follower import Follower
from local_sagemaker.machines import Machine, free_port, serverless
from local_sagemaker.platform import Platform
from local_sagemaker.store import Record

LOG_GROUP = "/aws/sagemaker/Endpoints"
_HEALTHY_WITHIN = 480  # seconds, unless the variant says otherwise
_PING_TIMEOUT = 2
_LOOK_EVERY = 0.2
_PING_EVERY, _FAILED_PINGS = 5.0, 3  # of one in service: as often as seen on AWS; how many may fail is said nowhere


class StartError(Exception):
    """The variant cannot serve; the message is the endpoint's FailureReason."""


@dataclass(frozen=True)
class Answer:
    """What `serve` said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Variant:
    """Started by `start`, ended by `stop`.

    Args:
        platform: of the server.
        config: ProductionVariant of the endpoint's configuration.
        container: ContainerDefinition of its model.
        place: folder for model and log; one of its own for each start.
        stream: where its log goes.
        variables: more environment.
    """

    platform: Platform
    config: Record
    container: Record
    place: Path
    stream: LogStream
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    machine: Machine | None = None
    busy: int = 0  # requests that are answered now; counted by Endpoints
    closed: bool = False  # stopped for good
    _pinged: float = 0.0  # when it was asked last
    _failed: int = 0  # pings in a row
    _reader: threading.Thread | None = None
    _loaded: dict[str, float] = field(default_factory=dict)  # multi-model: name -> last use
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """Of the variant, in its endpoint."""
        return str(self.config["VariantName"])

    @property
    def serverless(self) -> Record:
        """ServerlessConfig; empty where there are instances."""
        return self.config.get("ServerlessConfig") or {}

    @property
    def many(self) -> bool:
        """Whether it is a multi-model endpoint's."""
        return bool(self.container.get("Mode") == "MultiModel")

    def start(self) -> None:
        """Fetch the model, start `serve` and wait until it is healthy; StartError says why it is not."""
        with self._opening:  # a machine that starts while the variant is stopped would outlive it
            self._refuse_when_closed()
            self._open()
        self._wait_until_healthy()

    def _refuse_when_closed(self) -> None:
        if self.closed:
            raise StartError("The variant was stopped.")

    def _open(self) -> None:
        model = self.place / "model"
        model.mkdir(parents=True, exist_ok=True)
        if not self.many:
            self._fetch(Uri.parse(model_uri(self.container)), model)
        multi = {"SAGEMAKER_MULTI_MODEL": "true"} if self.many else {}
        variables = {**multi, **(self.container.get("Environment") or {}), **self.variables}
        self.port = free_port()
        self._loaded.clear()
        self._pinged, self._failed = time.monotonic(), 0
        log = self.place / "log"
        known = log.stat().st_size if log.exists() else 0  # of a machine before this one
        machines = self.platform.machines
        small = self.serverless
        flags = serverless(small["MemorySizeInMB"]) if small else machines.limits(self.config["InstanceType"], log)
        self.machine = machines.serve(self.container["Image"], model, self.port, variables, log, flags)
        self._reader = threading.Thread(target=self._pass_on_log, args=(self.machine, log, known), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL 30 s later; its files go too, and it cannot be started again."""
        self.closed = True
        with self._opening:
            machine = self.machine
        if machine:
            machine.stop()
        if self._reader:
            self._reader.join()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether `serve` runs."""
        return self.machine is not None and not self.machine.ended()

    @property
    def hangs(self) -> bool:
        """Whether the last pings have failed; asks again when it is time."""
        if time.monotonic() - self._pinged >= _PING_EVERY:
            self._pinged = time.monotonic()
            self._failed = 0 if self._ping() else self._failed + 1
        return self._failed >= _FAILED_PINGS

    def invoke(self, body: bytes, headers: Mapping[str, str], timeout: float, target: str = "") -> Answer:
        """POST to /invocations, or to one of many models; OSError or HTTPException when it does not answer."""
        if not self.many:
            return self.ask("POST", "/invocations", body, headers, timeout)
        self._load(target)
        return self.ask("POST", f"/models/{quote(target, safe='')}/invoke", body, headers, timeout)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Answer:
        """One request to `serve`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers.items()), response.read())
        finally:
            connection.close()

    def _wait_until_healthy(self) -> None:
        limit = self.config.get("ContainerStartupHealthCheckTimeoutInSeconds", _HEALTHY_WITHIN)
        end = time.monotonic() + limit
        while time.monotonic() < end and self.alive:
            if self._ping():
                return
            time.sleep(_LOOK_EVERY)
        self._refuse_when_closed()  # its log goes with it
        tail = " | ".join((self.place / "log").read_text(errors="replace").splitlines()[-5:])
        raise StartError(
            f"The primary container for production variant {self.name} did not pass "
            f"the ping health check. Its last lines: {tail}"[:1024]
        )

    def _ping(self) -> bool:
        try:
            return self.ask("GET", "/ping", timeout=_PING_TIMEOUT).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _fetch(self, uri: Uri, folder: Path) -> None:
        try:
            if uri.key.endswith("/"):
                if not self.platform.objects.download(uri, folder):
                    raise KeyError(uri)
            else:
                archive.unpack(self.platform.objects.read(uri), folder)
        except KeyError:
            raise StartError(f"Could not find model data at {uri}; check that the object exists.") from None
        except (tarfile.TarError, OSError, EOFError) as error:
            raise StartError(f"The model data at {uri} cannot be unpacked: {error}.") from None

    def _load(self, target: str) -> None:
        """Have one of many models loaded; makes room when there is none."""
        with self._loading:
            if target not in self._loaded:
                folder = self.place / "model" / hashlib.sha256(target.encode()).hexdigest()[:32]
                self._fetch_target(target, folder)
                self._register(target, folder)
            self._loaded[target] = time.monotonic()

    def _fetch_target(self, target: str, folder: Path) -> None:
        try:
            self._fetch(Uri.parse(model_uri(self.container)).below(target), folder)
        except StartError as error:
            raise ApiError("ValidationError", f"Failed to download model data: {error}") from None

    def _register(self, target: str, folder: Path) -> None:
        machines = self.platform.machines
        url = machines.inside(folder, self.place / "model")
        body = f'{{"model_name": "{target}", "url": "{url}"}}'.encode()
        while (answer := self.ask("POST", "/models", body, {"Content-Type": "application/json"})).status == 507:
            if not self._loaded:
                break
            oldest = min(self._loaded, key=lambda name: self._loaded[name])
            self.ask("DELETE", f"/models/{quote(oldest, safe='')}")
            del self._loaded[oldest]
        if answer.status not in (200, 409):
            shutil.rmtree(folder, ignore_errors=True)
            raise model_error(answer, "")

    def _pass_on_log(self, machine: Machine, log: Path, known: int) -> None:
        follower = Follower(log, self.stream, offset=known)
        while not machine.ended():
            follower.read()
            time.sleep(_LOOK_EVERY)
        follower.read(ended=True)


def model_error(answer: Answer, log_group: str) -> ApiError:
    """What a caller is told when the model's answer is an error."""
    error = ApiError(
        "ModelError",
        f"Received client error ({answer.status}) from primary with message "
        f'"{answer.body.decode(errors="replace")[:2048]}". See {log_group or LOG_GROUP} for more information.',
        424,
    )
    error.details = {
        "OriginalStatusCode": answer.status,
        "OriginalMessage": answer.body.decode(errors="replace")[:2048],
    }
    return error


def model_uri(container: Record) -> str:
    """Where a container's model data lies."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    return str(container.get("ModelDataUrl") or source.get("S3Uri", ""))
