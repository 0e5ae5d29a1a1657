"""Hostile and damaged pictures: each is answered or refused, and the server is none the worse for it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import doors
from server import Server, serving

FOLDER = doors.DATA / "hard-images"
GROWTH = 300 << 20

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the collection of hard pictures is not beside this project"
)


@pytest.fixture(scope="module")
def server(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("hard") / "serve.log"
    with serving(trained.model, log, environment={"SAGEMAKER_MAX_PAYLOAD_IN_MB": "20"}) as server:
        yield server.wait_until_ready()


def test_every_file_is_answered_and_the_server_stays_as_it_was(server: Server, pictures: Path) -> None:
    plain = next((pictures / "test").glob("*/*")).read_bytes()
    before = server.invoke(plain).json
    workers, memory = server.workers(), sum(process.memory for process in server.processes())
    files = sorted(path for path in FOLDER.iterdir() if path.is_file())
    answers = {path.name: server.invoke(path.read_bytes(), "application/octet-stream") for path in files}
    grown = sum(process.memory for process in server.processes()) - memory
    assert len(files) > 50
    assert {name: a.status for name, a in answers.items() if a.status not in (200, 400)} == {}
    assert all(set(a.json) == {"code", "message", "request_id"} for a in answers.values() if a.status == 400)
    assert sum(a.status == 200 for a in answers.values()) > len(files) // 3
    assert {worker.pid for worker in server.workers()} == {worker.pid for worker in workers}
    assert grown <= GROWTH, f"grew by {grown >> 20} MiB"
    assert server.invoke(plain).json == before
    assert "Traceback" not in server.log
    print(f"{len(files)} files, {grown / 1e6:.0f} MB of growth")


def test_all_of_them_in_one_body_are_each_as_they_are_alone(server: Server) -> None:
    files = sorted(path for path in FOLDER.iterdir() if path.is_file())
    alone = [server.invoke(path.read_bytes(), "application/octet-stream").json for path in files]
    texts = [base64.b64encode(path.read_bytes()).decode() for path in files]
    answer = server.invoke(json.dumps({"instances": texts}), "application/json")
    assert answer.status == 200, answer.body[:500]
    together = answer.json["predictions"]
    assert len(together) == len(files)
    for index, (path, one, many) in enumerate(zip(files, alone, together, strict=True)):
        if "code" in one:
            assert many == {"error": {"code": one["code"], "message": one["message"], "index": index}}, path.name
        else:
            assert many["topk_probs"] == pytest.approx(one["topk_probs"], abs=1e-3), path.name
