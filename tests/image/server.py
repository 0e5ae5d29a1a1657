"""A `serve` as a test starts and asks it: see doors.py."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import demo
import desk
from doors import ENGINE, WAY, Opened, with_flags


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server(Opened):
    """A `serve` that was started."""

    port: int = 0

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request, one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def itself(self) -> tuple[str, int]:
        """Address and port of `serve` itself: an engine's forwarder ends with a container, and loses what it holds."""
        if not ENGINE:
            return "127.0.0.1", self.port
        return desk.ask(
            str(ENGINE), "inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.container
        ).strip(), 8080

    def ping(self) -> int:
        """The status of /ping; 0 where nobody listens yet."""
        try:
            return self.ask("GET", "/ping").status
        except (OSError, http.client.HTTPException):
            return 0

    def invoke(self, body: Any, content_type: str = "image/png", path: str = "/invocations", **more: str) -> Answer:
        """POST to /invocations; further headers with underscores for hyphens."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        return self.ask("POST", path, body, {"Content-Type": content_type, **headers})

    def wait_until_ready(self, seconds: float = 120) -> "Server":
        """Wait for /ping to say 200."""
        end = time.monotonic() + seconds
        while self.ping() != 200:
            ended = self.running.process.poll()
            assert ended is None, f"`serve` ended with {ended} before it was ready:\n{self.log}"
            assert time.monotonic() < end, f"`serve` was not ready within {seconds} s:\n{self.log}"
            time.sleep(0.1)
        return self


@contextmanager
def serving(
    model: Path,
    log_file: Path,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    words: Sequence[str] | None = None,
    inner_port: int = 8080,
) -> Iterator[Server]:
    """`serve`, started but perhaps not ready; stopped when the block is left."""
    port = 0 if ENGINE else demo.free_port()
    command = with_flags(WAY.serve(model, port), flags, environment or {}, words)
    with log_file.open("wb") as log, desk.running(replace(command, grace=15), log) as process:
        server = Server(process, log_file, model.parent, port)
        if ENGINE and "none" not in flags:
            server.port = _published(server, inner_port)
        yield server


def _published(server: Server, inner_port: int) -> int:
    """The port of the loopback address that the engine chose; 0 when the container has ended already."""
    while server.running.process.poll() is None:
        answer = desk.ask(str(ENGINE), "port", server.container, f"{inner_port}/tcp")
        if answer:
            return int(answer.splitlines()[0].rpartition(":")[2])
        time.sleep(0.05)
    return 0
