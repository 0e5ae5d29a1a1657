"""Many models in little memory: real limits, a greedy loader, loads beside answers, and cycles that leave nothing."""

import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import doors
from doors import needs_engine
from server import Answer, Server, serving

MIB = 1 << 20
MULTI_MODEL = {"SAGEMAKER_MULTI_MODEL": "true"}
# A model whose load, or whose answer, takes as long as a file beside it says.
SLOW = """
import time
def model_fn(model_dir):
    time.sleep({load})
def input_fn(body, content_type):
    return bytes(body)
def predict_fn(data, model):
    time.sleep(float(data))
    return data.decode()
def output_fn(prediction, accept):
    return prediction
"""
GREEDY = """
def model_fn(model_dir):
    return [bytearray(64 << 20) for _ in range(100)]
"""


def scripted(folder: Path, text: str) -> None:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(text)


@pytest.fixture(scope="module")
def store(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models named after what they do."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copytree(trained.model, folder / "good")
    scripted(folder / "slow", SLOW.format(load=6))
    scripted(folder / "endless", SLOW.format(load=500))
    scripted(folder / "quick", SLOW.format(load=0))
    scripted(folder / "greedy", GREEDY)
    return folder


@contextmanager
def many(store: Path, log: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    with serving(store, log, flags, MULTI_MODEL) as server:
        yield server.wait_until_ready()


def load(server: Server, store: Path, name: str, folder: str) -> Answer:
    where = "/opt/ml/model" if doors.ENGINE else store
    body = json.dumps({"model_name": name, "url": f"{where}/{folder}"})
    return server.ask("POST", "/models", body, {"Content-Type": "application/json"})


def invoke(server: Server, name: str, picture: bytes) -> int:
    return server.invoke(picture, path=f"/models/{name}/invoke").status


@pytest.fixture(scope="module")
def picture(pictures: Path) -> bytes:
    return next((pictures / "test").rglob("*.png")).read_bytes()


@needs_engine
def test_beyond_the_memory_limit_a_load_is_507_until_another_model_is_unloaded(
    store: Path, picture: bytes, tmp_path: Path
) -> None:
    with many(store, tmp_path / "log", ("--memory", "1100m", "--memory-swap", "1100m")) as server:
        loaded: list[str] = []
        while (answer := load(server, store, f"m{len(loaded)}", "good")).status == 200:
            loaded.append(f"m{len(loaded)}")
            assert len(loaded) < 20
        assert loaded
        assert (answer.status, answer.json["code"]) == (507, "out_of_memory"), answer.body
        assert "are free; unload another model." in answer.json["message"]
        assert [invoke(server, name, picture) for name in loaded] == [200] * len(loaded)
        assert server.ask("DELETE", f"/models/{loaded[0]}").status == 200
        assert load(server, store, "another", "good").status == 200
        assert invoke(server, "another", picture) == 200


@needs_engine
def test_a_load_that_the_kernel_ends_for_its_memory_is_507_and_harms_nobody(
    store: Path, picture: bytes, tmp_path: Path
) -> None:
    with many(store, tmp_path / "log", ("--memory", "1500m", "--memory-swap", "1500m")) as server:
        assert load(server, store, "kept", "good").status == 200
        before = running(server)
        answer = load(server, store, "greedy", "greedy")
        assert (answer.status, answer.json["code"]) == (507, "out_of_memory"), answer.body
        assert running(server) == before
        assert (server.ping(), invoke(server, "kept", picture)) == (200, 200)
        assert server.ask("GET", "/models/greedy").status == 404


def test_the_kernel_would_end_workers_before_what_all_models_need(store: Path, picture: bytes, tmp_path: Path) -> None:
    with many(store, tmp_path / "log") as server:
        assert load(server, store, "kept", "good").status == 200
        loaded = max(server.workers(), key=lambda worker: worker.memory)
        assert score(server, loaded.pid) == 500
        assert all(score(server, pid) < 500 for pid in running(server) - {loaded.pid})


def running(server: Server) -> set[int]:
    return {process.pid for process in (*server.lasting(), *server.workers())}


def score(server: Server, pid: int) -> int:
    path = f"/proc/{pid}/oom_score_adj"
    return int(server.inside("cat", path) if doors.ENGINE else Path(path).read_text())


def test_models_are_served_while_another_loads_and_unloading_waits_for_the_last_answer(
    store: Path, picture: bytes, tmp_path: Path
) -> None:
    with many(store, tmp_path / "log") as server:
        assert load(server, store, "kept", "good").status == 200
        statuses: list[int] = []
        slow = threading.Thread(target=lambda: statuses.append(load(server, store, "slow", "slow").status))
        slow.start()
        longest, answered = 0.0, 0
        while slow.is_alive():
            start = time.monotonic()
            assert invoke(server, "kept", picture) == 200
            longest, answered = max(longest, time.monotonic() - start), answered + 1
        assert statuses == [200]
        assert longest < 4  # of the six seconds or more that the other one takes
        assert answered > 3

        asking = threading.Thread(target=lambda: statuses.append(invoke(server, "slow", b"2")))
        asking.start()
        time.sleep(0.5)
        assert server.ask("DELETE", "/models/slow").status == 200
        asking.join()
        assert statuses == [200, 200]


def test_its_end_waits_for_answers_but_for_no_model_that_loads(store: Path, tmp_path: Path) -> None:
    with many(store, tmp_path / "log") as server, ThreadPoolExecutor(3) as pool:
        assert load(server, store, "quick", "quick").status == 200
        loading = pool.submit(load, server, store, "endless", "endless")
        while server.ask("GET", "/metrics").body.find(b"\nclassifier_in_flight 2.0") < 0:  # this one, and the load
            time.sleep(0.1)
        asked = pool.submit(invoke, server, "quick", b"3")
        time.sleep(0.5)
        assert 2 < server.stop(30) < 15
        assert asked.result() == 200
        assert (loading.result().status, loading.result().json["code"]) == (503, "shutting_down")
        assert server.wait() == 0, server.log


def test_a_model_whose_workers_died_for_good_is_loaded_again(store: Path, tmp_path: Path) -> None:
    with many(store, tmp_path / "log") as server:
        assert load(server, store, "quick", "quick").status == 200
        server.kill_processes(worker.pid for worker in server.workers())  # and the process they are forked from
        server.wait_for("Workers of the model quick died", 60)
        end = time.monotonic() + 60
        while (status := invoke(server, "quick", b"0")) != 200:
            assert status in (503, 504), server.log
            assert time.monotonic() < end, server.log
            time.sleep(0.5)
        assert server.ask("DELETE", "/models/quick").status == 200
        assert server.workers() == []


def test_models_that_come_and_go_leave_nothing(store: Path, picture: bytes, tmp_path: Path) -> None:
    with many(store, tmp_path / "log") as server:

        def cycle() -> None:
            assert load(server, store, "quick", "quick").status == 200
            assert invoke(server, "quick", b"0") == 200
            assert server.ask("DELETE", "/models/quick").status == 200

        for _ in range(3):  # Java and Python take what they need once
            cycle()
        before = settled(server)
        for _ in range(8):
            cycle()
        after = settled(server)
        assert after.keys() == before.keys()  # the same processes
        for pid, process in after.items():
            assert process.files <= before[pid].files + 2, (before, after)
            assert process.memory <= before[pid].memory + 30 * MIB, (before, after)
        assert server.workers() == []


def settled(server: Server) -> dict[int, doors.Process]:
    """What lasts, by its process id."""
    time.sleep(1.5)  # what was unloaded is taken leave of each second
    assert server.zombies() == 0
    return {process.pid: process for process in server.lasting()}
