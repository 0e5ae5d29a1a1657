"""Faults against a real `serve`, under load, one after the other; writes faults_serving.md.

The model answers through a script of its own, so that a request can make it hang. Usage:
`ENGINE=none python tests/benchmarks/faults_serving.py MODEL_DIR` (or with an engine: in the image).
"""

import argparse
import http.client
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import doors
from sample_pictures import make_pictures
from server import Server, serving

CALLERS = 4
DEADLINE = 5  # seconds
ROOM = 3  # seconds beyond the deadline for a busy desk to notice
HANG = b"hang"
SCRIPT = """
import time
from PIL import Image
def input_fn(body, content_type):
    while bytes(body) == b"hang":
        time.sleep(1)
    from image_classifier import images
    return images.decode(body, 10**8)
"""
Fault = Callable[[Server, float], None]


@dataclass
class Load:
    """What callers with good requests saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def row(self, name: str, left: str) -> str:
        """One line of the table."""
        codes = {code: self.statuses.pop(code, 0) for code in ("200", "503", "504")}
        other = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items())) or "none"
        ordered = sorted(self.seconds) or [0.0]
        median, slowest = ordered[len(ordered) // 2], ordered[-1]
        verdict = "yes" if other == "none" and slowest < DEADLINE + ROOM else "**no**"
        counts = " | ".join(str(count) for count in codes.values())
        return f"| {name} | {counts} | {other} | {median * 1000:.0f} ms | {slowest:.1f} s | {left} | {verdict} |"


@contextmanager
def calling(server: Server, picture: bytes) -> Iterator[Load]:
    """Callers that ask without pause, each on its own connections."""
    load, stop = Load(), threading.Event()

    def call() -> None:
        while not stop.is_set():
            start = time.monotonic()
            try:
                status = str(server.invoke(picture, "image/png").status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            load.seconds.append(time.monotonic() - start)
            load.statuses[status] += 1
            if status != "200":
                time.sleep(0.1)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def nothing(server: Server, seconds: float) -> None:
    """No fault, to compare with."""
    del server
    time.sleep(seconds)


def malformed(server: Server, seconds: float) -> None:
    """Malformed HTTP, 20 times a second."""
    for number in range(int(seconds * 20)):
        with suppress(OSError), _connection(server) as connection:
            words = (b"\x16\x03\x01garbage\r\n\r\n", b"GET /ping HTTP/7\r\n\r\n", b"POST / HTTP/1.1\r\nA\r\n\r\n")
            connection.sendall(words[number % len(words)])
            connection.recv(1000)
        time.sleep(0.05)


def slow_callers(server: Server, seconds: float) -> None:
    """100 callers that send a byte of a 3 MB body every second."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 3000000\r\n\r\n"
    connections = [_connection(server) for _ in range(100)]
    for connection in connections:
        connection.sendall(head)
    for _ in range(int(seconds)):
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"x")
        time.sleep(1)
    _close(connections)


def half_closed(server: Server, seconds: float) -> None:
    """Half a request, then the caller closes its side, 20 times a second."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\nhalf"
    connections = []
    for _ in range(int(seconds * 20)):
        connection = _connection(server)
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        connections.append(connection)
        time.sleep(0.05)
    _close(connections)


def idle_connections(server: Server, seconds: float) -> None:
    """1,000 open connections that say nothing."""
    connections = [_connection(server) for _ in range(1000)]
    time.sleep(seconds)
    _close(connections)


def killed_workers(server: Server, seconds: float) -> None:
    """A worker is killed every second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _, *workers = sorted(server.workers(), key=lambda worker: worker.pid)  # the first is who forks the others
        with suppress(IndexError, AssertionError, OSError):
            server.kill_process(workers[0].pid)
        time.sleep(1)


def hanging(server: Server, seconds: float) -> None:
    """One request after another that makes its worker hang."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = server.invoke(HANG).status
        assert status in (503, 504), status


def crowd(server: Server, seconds: float) -> None:
    """100 more callers than may wait."""
    end = time.monotonic() + seconds

    def ask() -> None:
        while time.monotonic() < end:
            with suppress(OSError, http.client.HTTPException):
                server.invoke(b"no picture")

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


FAULTS: tuple[Fault, ...] = (
    nothing,
    malformed,
    slow_callers,
    half_closed,
    idle_connections,
    crowd,
    hanging,
    killed_workers,
)


def _connection(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def _close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def _state(server: Server) -> str:
    """What is left when all is quiet again."""
    time.sleep(DEADLINE + ROOM)  # a worker that hangs ends only now
    end = time.monotonic() + 90
    while (server.ping() != 200 or len(server.workers()) < 3) and time.monotonic() < end:
        time.sleep(0.2)
    processes = server.processes()
    return f"{len(processes)} processes, {sum(process.memory for process in processes) / 2**20:.0f} MiB"


def main() -> None:
    """Run each fault and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="a trained model's directory")
    parser.add_argument("--seconds", type=float, default=20, help="how long each fault lasts")
    chosen = parser.parse_args()
    source, seconds = chosen.model, chosen.seconds
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copytree(source, Path(folder) / "model"))
        (model / "code").mkdir()
        (model / "code" / "inference.py").write_text(SCRIPT)
        make_pictures(Path(folder) / "pictures", {"test": 1})
        picture = next((Path(folder) / "pictures").rglob("*.png")).read_bytes()
        environment = {
            "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": str(DEADLINE),
            "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        }
        with serving(model, Path(folder) / "log", environment=environment) as server:
            server.wait_until_ready(300)
            rows = []
            for fault in FAULTS:
                with calling(server, picture) as load:
                    fault(server, seconds)
                rows.append(load.row((fault.__doc__ or "").rstrip("."), _state(server)))
                print(rows[-1], flush=True)
    _write(rows, seconds)


def _write(rows: list[str], seconds: float) -> None:
    where = "in the image" if doors.ENGINE else "from the virtual environment"
    text = f"""# Faults against `serve`

`tests/benchmarks/faults_serving.py`, {where}: two workers, a deadline of {DEADLINE} s, {CALLERS} callers with good
requests that ask without pause while the fault lasts ({seconds:.0f} s each). The columns are what these callers saw;
"holds" is: no status but 200, 503 and 504, and every answer within its deadline and {ROOM} s for a busy machine.
Faults follow each other in the same server; the processes and memory left show that none leaves anything behind.

A worker takes two to four seconds to load: killed every second, two workers have no time to answer, and callers are
told so at once. Where requests hang one after another, both workers can be replaced at the same time: the few 504.

| fault | 200 | 503 | 504 | other | median | slowest | afterwards | holds |
|---|---|---|---|---|---|---|---|---|
"""
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
