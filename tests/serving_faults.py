"""What is done to a `serve` that is under load: each fault lasts some seconds, or until it has run its course."""

import http.client
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import doors
from server import Server
from spoilt import spoilt

Fault = Callable[[Server, float], None]
HANG, MUCH = b"hang", b"much"  # as the benchmark's script understands them
HOSTILE = doors.DATA / "hard-images"
SPOILT, TOGETHER = 10_000, 50
POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
MALFORMED = (
    b"\x16\x03\x01garbage\r\n\r\n",
    b"GET /ping HTTP/7\r\n\r\n",
    b"GET /\xff\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nA\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nno size\r\n",
    POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
    b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + b"rest",
)


def nothing(server: Server, seconds: float) -> None:
    """No fault, to compare with."""
    del server
    time.sleep(seconds)


def malformed(server: Server, seconds: float) -> None:
    """Malformed HTTP of ten kinds, 20 times a second."""
    for number in range(int(seconds * 20)):
        with suppress(OSError), _connection(server) as connection:
            connection.sendall(MALFORMED[number % len(MALFORMED)])
            connection.recv(1000)
        time.sleep(0.05)


def slow_headers(server: Server, seconds: float) -> None:
    """100 callers that send a byte of a header every second."""
    _trickle(server, seconds, b"GET /ping HTTP/1.1\r\nX: ")


def slow_callers(server: Server, seconds: float) -> None:
    """100 callers that send a byte of a 3 MB body every second."""
    _trickle(server, seconds, POST + b"Content-Length: 3000000\r\n\r\n")


def _trickle(server: Server, seconds: float, head: bytes, callers: int = 100) -> None:
    connections = [_connection(server) for _ in range(callers)]
    for connection in connections:
        connection.sendall(head)
    for _ in range(int(seconds)):
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"x")
        time.sleep(1)
    _close(connections)


def large_and_slow(server: Server, seconds: float) -> None:
    """20 callers that send 2 MB at once, and then a byte every second."""
    _trickle(server, seconds, POST + b"Content-Length: 3000000\r\n\r\n" + bytes(2_000_000), callers=20)


def slow_readers(server: Server, seconds: float) -> None:
    """20 callers that ask for an answer of 5 MB and take none of it."""
    connections = [_connection(server, room=1 << 12) for _ in range(20)]
    for connection in connections:
        connection.sendall(POST + f"Content-Length: {len(MUCH)}\r\n\r\n".encode() + MUCH)
    time.sleep(seconds)
    _close(connections)


def half_closed(server: Server, seconds: float) -> None:
    """Half a request, then the caller closes its side, 20 times a second."""
    head = POST + b"Content-Length: 5000\r\n\r\nhalf"
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


def killed_now_and_then(server: Server, seconds: float) -> None:
    """One of two workers is killed, and again when both answer."""
    _kill(server, seconds, lambda: alive(server) == 2)


def killed_workers(server: Server, seconds: float) -> None:
    """A worker is killed every second."""
    _kill(server, seconds, lambda: True)


def _kill(server: Server, seconds: float, may: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _, *workers = sorted(server.workers(), key=lambda worker: worker.pid)  # the first is who forks the others
        with suppress(IndexError, AssertionError, OSError):
            if may():
                server.kill_process(workers[0].pid)
        time.sleep(1)


def killed_all(server: Server, seconds: float) -> None:
    """All workers are killed at once, and the process that they are forked from."""
    server.kill_processes(process.pid for process in server.workers())
    time.sleep(seconds)


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


def hostile_pictures(server: Server, seconds: float) -> None:
    """Hostile and damaged pictures, a hundred files, one after the other."""
    end, files = time.monotonic() + seconds, sorted(path for path in HOSTILE.iterdir() if path.is_file())
    for path in files:
        answer = server.invoke(path.read_bytes(), "application/octet-stream")
        assert answer.status in (200, 400, 413, 503, 504), (path, answer.status)
    time.sleep(max(0, end - time.monotonic()))


def spoilt_pictures(server: Server, seconds: float) -> None:
    """10,000 pictures spoilt at random, fifty in a body."""
    del seconds
    files = list(spoilt(SPOILT, seed=21))
    for start in range(0, SPOILT, TOGETHER):
        answer = server.invoke(*_form(files[start : start + TOGETHER]))
        assert answer.status in (200, 503, 504), (start, answer.status)
        codes = {one["error"]["code"] for one in answer.json.get("predictions", []) if "error" in one}
        assert codes <= {"bad_image"}, (start, codes)


def spoilt_again(server: Server, seconds: float) -> None:
    """The same 10,000 again."""
    spoilt_pictures(server, seconds)


def _form(pictures: list[bytes]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    body = b"".join(head + picture + b"\r\n" for picture in pictures) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


# of a server whose model is answered by a script that can hang, and of one with our own handler
SCRIPTED: tuple[Fault, ...] = (
    nothing,
    malformed,
    slow_headers,
    slow_callers,
    large_and_slow,
    slow_readers,
    half_closed,
    idle_connections,
    crowd,
    hanging,
    killed_now_and_then,
    killed_workers,
    killed_all,
)
OF_FOUR: tuple[Fault, ...] = (nothing, killed_workers)
_HOSTILE = [hostile_pictures] if HOSTILE.is_dir() else []
OWN: tuple[Fault, ...] = (nothing, *_HOSTILE, spoilt_pictures, spoilt_again)


def alive(server: Server) -> int:
    """How many workers can answer."""
    metrics = server.ask("GET", "/metrics").body.decode()
    return int(float(metrics.partition("\nclassifier_workers_alive ")[2].split()[0]))


def _connection(server: Server, room: int = 0) -> socket.socket:
    """A connection; with so much room for what its caller does not read."""
    connection = socket.socket()
    if room:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    return connection


def _close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()
