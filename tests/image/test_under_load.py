"""`serve` under load: its end loses nothing, and a worker that dies takes no other worker's requests with it."""

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from server import Answer, Server, serving

# Answers with what it was sent: the seconds that the answer takes. A script that reads its bodies is not warmed up.
SCRIPT = """
import time
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    return bytes(body).decode("latin-1")
def predict_fn(data, model):
    time.sleep(float(data))
    return data
def output_fn(prediction, accept):
    return prediction
"""


LEAKING = """
import time
kept = []
def predict_fn(data, model):
    kept.append(bytes(5 << 20).replace(b"\\0", b"x"))
    time.sleep(0.05)
    return data
"""


LARGE = 30 << 20
ANSWERING_MUCH = f"""
def output_fn(prediction, accept):
    return b"x" * {LARGE}
"""


@contextmanager
def starting(folder: Path, more: str = "", **environment: str) -> Iterator[Server]:
    (folder / "model" / "code").mkdir(parents=True)
    (folder / "model" / "code" / "inference.py").write_text(SCRIPT + more)
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "2", **environment}
    with serving(folder / "model", folder / "log", environment=environment) as server:
        yield server


@contextmanager
def answering(folder: Path, more: str = "", **environment: str) -> Iterator[Server]:
    with starting(folder, more, **environment) as server:
        server.wait_until_ready()
        until(lambda: alive(server) == 2, server)
        yield server


def alive(server: Server) -> int:
    """How many workers can answer."""
    metrics = server.ask("GET", "/metrics").body.decode()
    return int(float(metrics.partition("\nclassifier_workers_alive ")[2].split()[0]))


def until(true: Callable[[], bool], server: Server, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, server.log
        time.sleep(0.05)


def ask(pool: ThreadPoolExecutor, server: Server, seconds: float) -> Future[Answer]:
    return pool.submit(server.invoke, str(seconds), "text/plain")


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    with answering(tmp_path) as server, ThreadPoolExecutor(40) as pool:
        asked = [ask(pool, server, 0.5) for _ in range(24)]
        time.sleep(0.4)
        stopping = pool.submit(server.stop, 30)
        until(lambda: "Shutting down" in server.log, server)
        pinged = server.ping()
        late = ask(pool, server, 0.25)
        assert [future.result().status for future in asked] == [200] * 24
        assert {future.result().body for future in asked} == {b"0.5"}
        assert pinged == 503
        assert (late.result().status, late.result().body) == (200, b"0.25")
        assert late.result().headers["Connection"] == "close"
        assert stopping.result() < 25
        assert server.wait() == 0, server.log


def test_sigterm_cuts_no_answer_off_that_its_caller_takes_slowly(tmp_path: Path) -> None:
    with (
        answering(tmp_path, ANSWERING_MUCH, SAGEMAKER_MAX_PAYLOAD_IN_MB="30") as server,
        ThreadPoolExecutor(1) as pool,
        socket.socket() as caller,
    ):
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        caller.settimeout(30)
        caller.connect(server.itself())
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n"
        caller.sendall(head + b"0")
        got = len(caller.recv(1 << 16).partition(b"\r\n\r\n")[2])
        stopping = pool.submit(server.stop, 30)
        while got < LARGE and (piece := caller.recv(1 << 16)):
            got += len(piece)
            time.sleep(0.01)
        assert got == LARGE
        assert 3 < stopping.result() < 25
        assert server.wait() == 0, server.log


def test_what_takes_longer_than_the_end_may_take_is_told_so(tmp_path: Path) -> None:
    with answering(tmp_path) as server, ThreadPoolExecutor(4) as pool:
        long, short = ask(pool, server, 50), ask(pool, server, 3)
        time.sleep(0.4)
        assert server.stop(30) < 29  # before it would be killed
        assert server.wait() == 0, server.log
        assert (short.result().status, long.result().status) == (200, 503)
        assert long.result().json["code"] == "shutting_down"


def test_sigterm_while_the_model_loads_ends_it_soon_and_well(tmp_path: Path) -> None:
    with starting(tmp_path, "def model_fn(model_dir): time.sleep(500)\n") as server:
        server.wait_for("Listening on port")
        time.sleep(4)  # Java is there, and its worker loads
        assert server.ping() == 503
        assert server.stop(30) < 12
        assert server.wait() == 0, server.log
        assert "Traceback" not in server.log


def test_a_worker_that_is_killed_under_load_costs_only_the_request_it_had(tmp_path: Path) -> None:
    statuses: Counter[str] = Counter()
    stop = threading.Event()
    pings: list[float] = []
    kills = 3

    def call(server: Server) -> None:
        while not stop.is_set():
            try:
                status = str(server.invoke("0.02", "text/plain").status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            statuses[status] += 1

    def ping(server: Server) -> None:
        while not stop.wait(0.1):
            start = time.monotonic()
            assert server.ping() == 200
            pings.append(time.monotonic() - start)

    with answering(tmp_path) as server, ThreadPoolExecutor(5) as pool:
        files = sum(process.files for process in server.lasting())
        callers = [*(pool.submit(call, server) for _ in range(4)), pool.submit(ping, server)]
        try:
            for _ in range(kills):
                victim = sorted(worker.pid for worker in server.workers())[1]  # the first forks the others
                server.kill_process(victim)
                until(lambda: alive(server) == 1, server)
                before = statuses["200"]
                until(lambda before=before: statuses["200"] > before + 20, server)  # the other one goes on
                until(lambda: alive(server) == 2, server)
                assert server.ping() == 200
        finally:
            stop.set()
        for caller in callers:
            caller.result()
        assert set(statuses) <= {"200", "503", "504"}, statuses
        assert statuses.total() - statuses["200"] <= kills, statuses
        assert sorted(pings)[len(pings) * 9 // 10] < 2  # SageMaker waits no longer
        until(lambda: sum(process.files for process in server.lasting()) < files + 2 * kills, server)


@pytest.mark.parametrize("how_many", [1, 3])
def test_the_process_that_workers_are_forked_from_is_killed_alone_or_with_them(tmp_path: Path, how_many: int) -> None:
    said: Counter[str] = Counter()
    stop = threading.Event()

    def call(server: Server) -> None:
        while not stop.is_set():
            answer = server.invoke("0.02", "text/plain")
            said["answered" if answer.status == 200 else answer.json["code"]] += 1

    with answering(tmp_path) as server, ThreadPoolExecutor(2) as pool:
        before = sorted(worker.pid for worker in server.workers())  # the first forks the others
        callers = [pool.submit(call, server) for _ in range(2)]
        try:
            server.kill_processes(before[:how_many])
            server.wait_for("the model is loaded again")
            until(lambda: len({worker.pid for worker in server.workers()} - {*before}) == 3, server)
            until(lambda: alive(server) == 2 and server.ping() == 200, server)
            answered = said["answered"]
            until(lambda: said["answered"] > answered + 20, server)
        finally:
            stop.set()
        for caller in callers:
            caller.result()
        assert server.log.count("the model is loaded again") == 1, server.log
        assert said.keys() <= {"answered", "not_ready", *(["unavailable"] if how_many > 1 else [])}, said


def test_workers_that_grow_are_replaced_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def call(server: Server) -> None:
        while not stop.is_set():
            statuses[server.invoke("0", "text/plain").status] += 1

    with answering(tmp_path, LEAKING, CLASSIFIER_WORKER_MAX_MB="600") as server, ThreadPoolExecutor(4) as pool:
        before = {worker.pid for worker in server.workers()}
        callers = [pool.submit(call, server) for _ in range(4)]
        try:
            until(lambda: len(before - {worker.pid for worker in server.workers()}) == 2, server)
            until(lambda: alive(server) == 2, server)
        finally:
            stop.set()
        for caller in callers:
            caller.result()
        assert set(statuses) == {200}, statuses
        assert max(worker.memory for worker in server.workers()) < 1200 << 20
