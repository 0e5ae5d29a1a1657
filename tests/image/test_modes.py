"""The ways SageMaker runs `serve`: batch transform, asynchronous, serverless, inference component."""

import base64
import io
import json
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

import doors
from doors import needs_engine
from server import Server, serving

MIB = 1 << 20


@pytest.fixture(scope="module")
def picture(pictures: Path) -> bytes:
    return next((pictures / "test").glob("*/*")).read_bytes()


def large(picture: bytes, size: int) -> bytes:
    """The same picture, as a large body: trailing bytes are no part of a PNG."""
    return picture + b"\0" * (size - len(picture))


def test_a_batch_transform(trained: doors.Finished, picture: bytes, tmp_path: Path) -> None:
    environment = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "1",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    with serving(trained.model, tmp_path / "log", environment=environment) as server:
        server.wait_until_ready()
        told = server.ask("GET", "/execution-parameters").json
        assert told == {"MaxConcurrentTransforms": 1, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 100}
        answer = server.invoke(large(picture, 100 * MIB))
        assert answer.status == 200
        assert answer.json == server.invoke(picture).json
        assert server.invoke(large(picture, 100 * MIB + 1)).status == 413


def test_a_batch_transform_of_many_records_in_a_body_of_100_mb(
    trained: doors.Finished, picture: bytes, tmp_path: Path
) -> None:
    environment = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    record = json.dumps({"b64": base64.b64encode(large(picture, 3 * MIB // 2)).decode()}).encode() + b"\n"
    records = 100 * MIB // len(record)
    with serving(trained.model, tmp_path / "log", environment=environment) as server:
        server.wait_until_ready()
        answer = server.invoke(record * records, "application/jsonlines")
        assert answer.status == 200, answer.body
        lines = [json.loads(line) for line in answer.body.splitlines()]
        assert len(lines) == records == 49
        alone = server.invoke(picture).json
        assert all(line["topk_labels"] == alone["topk_labels"] for line in lines)
        bad = server.invoke(b'"no picture"\n' * 3000, "application/jsonlines")
        assert bad.status == 200, bad.body
        assert [json.loads(line)["error"]["index"] for line in bad.body.splitlines()] == list(range(3000))


def test_large_bodies_pass_by_the_front_door_and_by_java_and_are_held_once_by_their_worker(
    trained: doors.Finished, picture: bytes, tmp_path: Path
) -> None:
    environment = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "200", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with serving(trained.model, tmp_path / "log", environment=environment) as server:
        server.wait_until_ready()
        assert server.invoke(large(picture, 2 * MIB)).status == 200  # every class that it takes is loaded
        lasting, worker = server.lasting(), max(server.workers(), key=lambda process: process.memory)
        assert len(lasting) == 2
        before = [peak(server, process.pid) for process in lasting]
        assert server.invoke(large(picture, 150 * MIB)).status == 200
        after = [peak(server, process.pid) for process in lasting]
        assert [now - then < 30 * MIB for now, then in zip(after, before, strict=True)] == [True, True]
        assert 140 * MIB < peak(server, worker.pid) - worker.memory < 200 * MIB


def peak(server: Server, pid: int) -> int:
    """Bytes of memory that a process has had at most, as the kernel remembers it."""
    file = f"/proc/{pid}/status"
    status = server.inside("cat", file) if doors.ENGINE else Path(file).read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_large_bodies_and_answers_of_a_script_pass_whole(trained: doors.Finished, tmp_path: Path) -> None:
    model = Path(shutil.copytree(trained.model, tmp_path / "model"))
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(
        "def transform_fn(model, body, content_type, accept):\n    return body[::-1], 'text/plain'\n"
    )
    environment = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "30", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    with serving(model, tmp_path / "log", environment=environment) as server:
        server.wait_until_ready()
        for size in (100, MIB, MIB + 1, 100, 30 * MIB):
            body = b"begin" + bytes(size - 5)
            answer = server.invoke(body, "application/octet-stream")
            assert (answer.status, answer.body == body[::-1]) == (200, True), size
        assert len(server.workers()) == 2  # the one that others are forked from, and the same worker


SERVERLESS = (*doors.NOBODY, *doors.READ_ONLY)
ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}  # as the desk sets it: there are more cores than memory


@needs_engine
@pytest.mark.parametrize(
    ("memory", "cores", "environment"), [(2048, 1, {}), (1024, 2, ONE_WORKER), (3072, 2, ONE_WORKER)]
)
def test_serverless_has_one_worker_and_writes_only_to_tmp(
    trained: doors.Finished, picture: bytes, tmp_path: Path, memory: int, cores: int, environment: dict[str, str]
) -> None:
    flags = (*SERVERLESS, "--memory", f"{memory}m", "--cpus", str(cores))
    with serving(trained.model, tmp_path / "log", flags, environment) as server:
        server.wait_until_ready(170)  # SageMaker gives it three minutes
        assert f"Workers: 1 with {cores} thread(s) each ({cores} cores; {memory} MiB memory" in server.log
        assert f"files of at most {memory // 16} MiB in all, in memory." in server.log
        assert server.invoke(large(picture, 4 * MIB)).status == 200


@needs_engine
def test_an_inference_component_obeys_its_share_of_the_host(
    trained: doors.Finished, picture: bytes, tmp_path: Path
) -> None:
    flags = ("--memory", "1200m", "--cpus", "0.5")
    with serving(trained.model, tmp_path / "log", flags, {"SAGEMAKER_BIND_TO_PORT": "8080"}) as server:
        server.wait_until_ready(170)
        assert "Workers: 1 with 1 thread(s) each (1 cores; 1200 MiB memory" in server.log
        assert server.invoke(picture).status == 200


def test_a_request_that_hangs_is_504_its_worker_ends_and_others_are_answered(
    trained: doors.Finished, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(trained.model, tmp_path / "model"))
    (model / "code").mkdir()
    (model / "code" / "inference.py").write_text(
        "import time\nfrom image_classifier import images\n"
        "def input_fn(body, content_type):\n"
        "    while bytes(body) == b'hang':\n        time.sleep(1)\n"
        "    return images.decode(body, 10**8)\n"
    )
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "PNG")
    environment = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "4", "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    with serving(model, tmp_path / "log", environment=environment) as server:
        server.wait_until_ready()
        time.sleep(1)  # the second worker too
        before = {worker.pid for worker in server.workers()}
        hung: list[int] = []
        hanging = threading.Thread(target=lambda: hung.append(server.invoke(b"hang").status))
        hanging.start()
        time.sleep(0.2)
        assert [server.invoke(stream.getvalue()).status for _ in range(3)] == [200] * 3
        hanging.join()
        assert hung == [504]
        end = time.monotonic() + 20
        while before <= {worker.pid for worker in server.workers()}:
            assert time.monotonic() < end, "the worker that hung is still there"
            time.sleep(0.2)
        while len(server.workers()) < len(before):
            assert time.monotonic() < end + 40, "no worker took its place"
            time.sleep(0.2)
        assert server.wait_until_ready().invoke(stream.getvalue()).status == 200


@pytest.mark.parametrize(("forked_from", "last"), [(False, "All workers died"), (True, "cannot be loaded: ")])
def test_when_every_worker_dies_for_good_it_ends_with_an_error(
    trained: doors.Finished, tmp_path: Path, forked_from: bool, last: str
) -> None:
    model = shutil.copytree(trained.model, tmp_path / "model")
    with serving(model, tmp_path / "log", environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}) as server:
        server.wait_until_ready()
        (model / "config.json").write_text("{")
        server.kill_processes(sorted(worker.pid for worker in server.workers())[not forked_from :])
        end = time.monotonic() + 20
        while server.ping() == 200:
            assert time.monotonic() < end, server.log
            time.sleep(0.1)
        assert server.wait(200) == 3, server.log
        assert last in server.log.splitlines()[-1]
        assert "Traceback" not in server.log


def test_when_java_is_killed_it_ends_with_an_error(trained: doors.Finished, tmp_path: Path) -> None:
    with serving(trained.model, tmp_path / "log", environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}) as server:
        server.wait_until_ready()
        server.kill_process(java(server))
        assert server.wait(60) == 3, server.log
        assert "The model server (Java) was ended by SIGKILL" in server.log.splitlines()[-1]
        assert "Traceback" not in server.log


def java(server: Server) -> int:
    return next(process.pid for process in server.lasting() if "java" in process.words)


def test_ping_is_503_while_java_or_every_worker_is_stuck(
    trained: doors.Finished, picture: bytes, tmp_path: Path
) -> None:
    with serving(trained.model, tmp_path / "log", environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}) as server:

        def until(status: int) -> None:
            end = time.monotonic() + 60
            while server.ping() != status:
                assert time.monotonic() < end, server.log
                time.sleep(0.2)

        server.wait_until_ready()
        stuck = java(server)
        server.kill_process(stuck, signal.SIGSTOP)
        until(503)
        server.kill_process(stuck, signal.SIGCONT)
        until(200)
        _, worker = sorted(process.pid for process in server.workers())  # the first forks the others
        server.kill_process(worker, signal.SIGSTOP)
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(server.invoke(picture).status))
        asking.start()
        until(503)
        server.kill_process(worker, signal.SIGCONT)
        asking.join()
        until(200)
        assert answers == [200], server.log
        server.kill_process(worker, signal.SIGSTOP)
        until(503)  # though nobody asks
        server.kill_process(worker, signal.SIGCONT)
        until(200)
