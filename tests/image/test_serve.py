"""`serve` from end to end: readiness, answers, refusals, stopping and recovering."""

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import doors
from doors import needs_engine
from server import Answer, Server, serving

# The strictest host: a user without a name, a read-only root, only /tmp to write to.
STRICT = (*doors.NOBODY, *doors.READ_ONLY) if doors.ENGINE else ()
MIB = 1 << 20


@pytest.fixture(scope="module")
def picture(pictures: Path) -> bytes:
    return next((pictures / "test").glob("*/*")).read_bytes()


@pytest.fixture(scope="module")
def early() -> list[int]:
    """What /ping said from the start on."""
    return []


@pytest.fixture(scope="module")
def server(trained: doors.Finished, early: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    with serving(trained.model, log, flags=STRICT) as server:
        while server.running.process.poll() is None and 200 not in early:
            early.append(server.ping())
        yield server.wait_until_ready()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refused(answer: Answer, status: int, code: str) -> bool:
    """Whether this is a refusal in our form, with a sentence and without a traceback."""
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json
    assert set(body) == {"code", "message", "request_id"}
    assert body["message"].endswith(".")
    assert "Traceback" not in body["message"]
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return (answer.status, body["code"]) == (status, code)


class TestReadiness:
    def test_ping_is_503_while_the_model_loads_and_then_200(self, server: Server, early: list[int]) -> None:
        told = [status for status in early if status]
        assert told[0] == 503
        assert set(told) == {503, 200}
        assert server.ping() == 200

    @pytest.mark.parametrize(
        "line",
        [
            r"Packages: Python 3\.\d+\.\d+, torch \S+, torchvision \S+, openvino \S+, multi-model-server \S+, .*\.",
            r"Device: .+\.",
            r"Model: resnet18 with 6 classes in /\S+ \(\d+ files, \d+\.\d MB: .*\), answered by our own handler\.",
            r"Engine: .+, on \S+; .+\.",
            r"Workers: \d+ with \d+ thread\(s\) each.* \(.*\d+ cores; \d+ MiB memory / \d+ MiB a worker = .+\)\.",
            r"Limits: body 6 MiB either way; \d+ requests at work, .*, \d+ waiting; .* \d+ MiB in all, .+\.",
            r"Java: heap \d+ MiB, direct memory \d+ MiB; \d+ \+ \d+ threads\.",
            r"Memory: \d+ of \d+ MiB = workers \d+ \+ Java \d+ \+ front door \d+ \+ bodies \d+ \+ large ones \d+.*\.",
            r"Requests: at most 1000 pictures of 50 million pixels each .*; 504 after 55 s\.",
            r"Listening on port \d+; /ping answers 503 until the model is loaded\.",
            r"Ready: the model in /\S+ answers, after \d+\.\d s\.",
        ],
    )
    def test_the_log_begins_with_what_it_is_made_of_and_what_it_serves(self, server: Server, line: str) -> None:
        server.wait_for("Ready: the model in", 10)
        assert re.search(f"^{line}$", server.log, re.MULTILINE), server.log


class TestAnswers:
    def test_the_form(self, server: Server, picture: bytes) -> None:
        answer = server.invoke(picture)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        body = answer.json
        assert set(body) == {"topk_indices", "topk_labels", "topk_probs"}
        assert len(body["topk_labels"]) == 5
        assert body["topk_probs"] == sorted(body["topk_probs"], reverse=True)
        assert 0 < sum(body["topk_probs"]) <= 1

    @pytest.mark.parametrize(
        ("kind", "content_type"),
        [
            ("PNG", "image/png"),
            ("JPEG", "image/jpeg"),
            ("JPEG", "image/jpg"),
            ("WEBP", "image/webp"),
            ("GIF", "image/gif"),
            ("BMP", "image/bmp"),
            ("TIFF", "image/tiff"),
            ("AVIF", "image/avif"),
            ("PNG", "application/x-image"),
            ("JPEG", "application/octet-stream"),
            ("PNG", "IMAGE/PNG; charset=binary"),
        ],
    )
    def test_every_content_type(self, kind: str, content_type: str, server: Server, picture: bytes) -> None:
        with Image.open(io.BytesIO(picture)) as image:
            answer = server.invoke(encoded(image, kind), content_type)
        assert answer.status == 200, answer.body
        assert len(answer.json["topk_labels"]) == 5

    def test_all_labels_and_logits_on_request(self, server: Server, picture: bytes) -> None:
        body = server.invoke(picture, Accept="application/json;verbose").json
        assert body["predicted_label"] == body["topk_labels"][0]
        assert len(body["labels"]) == len(body["probabilities"]) == len(body["logits"]) == 6
        assert sum(body["probabilities"]) == pytest.approx(1)

    def test_fewer_labels_on_request(self, server: Server, picture: bytes) -> None:
        assert len(server.invoke(picture, path="/invocations?top_k=2").json["topk_labels"]) == 2
        by_attribute = server.invoke(picture, X_Amzn_SageMaker_Custom_Attributes="top_k=3").json
        assert len(by_attribute["topk_labels"]) == 3

    def test_the_request_id_is_the_callers_or_a_new_one(self, server: Server, picture: bytes) -> None:
        assert server.invoke(picture, X_Request_Id="order-66").headers["X-Request-Id"] == "order-66"
        new = [server.invoke(picture).headers["X-Request-Id"] for _ in range(2)]
        assert len(set(new)) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        "body", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"\xff\xd8\xff\xe0 and no more"]
    )
    def test_what_is_not_a_picture(self, body: bytes, server: Server) -> None:
        assert refused(server.invoke(body), 400, "bad_image")

    def test_half_a_picture(self, server: Server, picture: bytes) -> None:
        assert refused(server.invoke(picture[: len(picture) // 2]), 400, "bad_image")

    def test_a_picture_beyond_the_pixel_limit(self, server: Server) -> None:
        bomb = encoded(Image.new("1", (10_000, 5_001)), "PNG")
        assert refused(server.invoke(bomb), 400, "bad_image")

    @pytest.mark.parametrize("value", ["none", "0", "-3", "1e3"])
    def test_an_option_that_is_no_number(self, value: str, server: Server, picture: bytes) -> None:
        assert refused(server.invoke(picture, path=f"/invocations?top_k={value}"), 400, "bad_option")

    def test_unknown_paths_and_methods(self, server: Server) -> None:
        assert refused(server.ask("GET", "/nothing"), 404, "not_found")
        wrong = server.ask("GET", "/invocations")
        assert refused(wrong, 405, "method_not_allowed")
        assert wrong.headers["Allow"] == "POST"

    def test_an_answer_it_cannot_give(self, server: Server, picture: bytes) -> None:
        assert refused(server.invoke(picture, Accept="text/html"), 406, "not_acceptable")

    @pytest.mark.parametrize("content_type", ["text/plain", "text/csv", "image/svg+xml", ""])
    def test_a_content_type_it_does_not_take(self, content_type: str, server: Server, picture: bytes) -> None:
        assert refused(server.invoke(picture, content_type), 415, "unsupported_media_type")

    def test_a_body_beyond_the_limit(self, server: Server, picture: bytes) -> None:
        too_large = server.ask(
            "POST", "/invocations", b"", {"Content-Type": "image/png", "Content-Length": str(6 * MIB + 1)}
        )
        assert refused(too_large, 413, "too_large")
        # trailing bytes are no part of a PNG: this is the largest body that is taken
        assert server.invoke(picture + b"\0" * (6 * MIB - len(picture))).status == 200

    def test_a_body_that_hides_its_size(self, server: Server) -> None:
        chunks = (b"\0" * MIB for _ in range(7))
        assert refused(server.invoke(chunks, "image/png"), 413, "too_large")

    def test_it_still_answers(self, server: Server, picture: bytes) -> None:
        assert server.invoke(picture).status == 200
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def another(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker, on a port that the platform chose, on an ordinary host."""
    flags = ("-p", "127.0.0.1:0:9191") if doors.ENGINE else ()
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    if doors.ENGINE:
        environment["SAGEMAKER_BIND_TO_PORT"] = "9191"
    log = tmp_path_factory.mktemp("another") / "serve.log"
    with serving(trained.model, log, flags, environment, inner_port=9191) as server:
        yield server.wait_until_ready()


class TestItsProcesses:
    def test_it_listens_on_the_port_it_is_told(self, another: Server, picture: bytes) -> None:
        told = 9191 if doors.ENGINE else another.port
        assert f"Listening on port {told};" in another.log
        assert another.invoke(picture).status == 200

    def test_a_worker_that_is_killed_is_replaced(self, another: Server, picture: bytes) -> None:
        loaded = max(another.workers(), key=lambda worker: worker.memory)
        another.kill_process(loaded.pid)
        seen, end = [], time.monotonic() + 90
        while seen[-3:] != [(200, 200)] * 3:
            assert time.monotonic() < end, f"{seen}\n{another.log}"
            seen.append((another.ping(), another.invoke(picture).status))
            time.sleep(0.3)
        pings, answers = zip(*seen, strict=True)
        assert set(pings) <= {200, 503}, seen
        assert set(answers) <= {200, 503}, seen
        assert loaded.pid not in {worker.pid for worker in another.workers()}

    @needs_engine
    def test_nothing_is_written_outside_tmp(self, another: Server) -> None:
        lines = doors.engine("diff", another.container).splitlines()
        changed = {line.split(maxsplit=1)[1] for line in lines}
        # the engine itself makes the place where the model is mounted
        assert all(path.startswith("/tmp") or path in ("/opt", "/opt/ml", "/opt/ml/model") for path in changed)

    def test_sigterm_ends_it_at_once_and_well(self, another: Server) -> None:
        assert another.stop(patience=30) < 10
        assert another.wait() == 0, another.log
        assert "Shutting down" in another.log


_ASK_INSIDE = """
import sys, time, urllib.request
open_ = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
for _ in range(600):
    try:
        open_("http://127.0.0.1:8080/ping"); break
    except OSError:
        time.sleep(0.1)
picture = open("/picture.png", "rb").read()
request = urllib.request.Request("http://127.0.0.1:8080/invocations", picture, {"Content-Type": "image/png"})
print(open_(request).read().decode())
"""


@needs_engine
def test_it_serves_without_a_network(trained: doors.Finished, pictures: Path, tmp_path: Path) -> None:
    picture = next((pictures / "test").glob("*/*"))
    flags = (*doors.NO_NETWORK, "-v", f"{picture}:/picture.png:ro")
    with serving(trained.model, tmp_path / "serve.log", flags) as server:
        server.wait_for("Listening on port")
        answer = json.loads(server.inside("python", "-c", _ASK_INSIDE))
    assert len(answer["topk_labels"]) == 5
