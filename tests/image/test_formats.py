"""Bodies and answers of every form through the real server, and its OpenAPI description against it."""

import base64
import csv
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import described
import doors
from server import Answer, Server, serving

LINES, JSON = "application/jsonlines", "application/json"


@pytest.fixture(scope="module")
def server(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"CLASSIFIER_MAX_RECORDS": "20"}
    with serving(trained.model, tmp_path_factory.mktemp("formats") / "serve.log", environment=environment) as server:
        yield server.wait_until_ready()


@pytest.fixture(scope="module")
def three(pictures: Path) -> list[bytes]:
    """One picture of each of three classes."""
    classes = sorted((pictures / "test").iterdir())[:3]
    return [sorted(folder.iterdir())[0].read_bytes() for folder in classes]


@pytest.fixture(scope="module")
def alone(server: Server, three: list[bytes]) -> list[Any]:
    """The answers to the pictures sent one by one."""
    return [server.invoke(picture).json for picture in three]


def b64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def in_json(pictures: Sequence[bytes]) -> bytes:
    return json.dumps({"instances": [{"b64": b64(picture)} for picture in pictures]}).encode()


def in_lines(pictures: Sequence[bytes]) -> bytes:
    return "".join(json.dumps({"b64": b64(picture)}) + "\n" for picture in pictures).encode()


def form(pictures: Sequence[bytes]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    body = b"".join(head + picture + b"\r\n" for picture in pictures) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def same(answer: Any, alone: Any) -> bool:
    """Alone or among others, a picture has the same labels; sums in another order differ in the last digits."""
    assert answer["topk_labels"] == alone["topk_labels"]
    assert answer["topk_probs"] == pytest.approx(alone["topk_probs"], abs=1e-4)
    return True


def predictions(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == JSON
    return list(answer.json["predictions"])


class TestBodies:
    def test_many_in_json(self, server: Server, three: list[bytes], alone: list[Any]) -> None:
        answers = predictions(server.invoke(in_json(three), JSON))
        assert all(map(same, answers, alone))
        assert len(answers) == 3

    def test_one_in_json_is_answered_as_a_picture_is(
        self, server: Server, three: list[bytes], alone: list[Any]
    ) -> None:
        answer = server.invoke(json.dumps({"inputs": b64(three[0])}), JSON)
        assert answer.json == alone[0]

    def test_many_in_a_form(self, server: Server, three: list[bytes], alone: list[Any]) -> None:
        answers = predictions(server.invoke(*form(three)))
        assert all(map(same, answers, alone))
        assert len(answers) == 3

    def test_json_lines_are_answered_line_by_line(self, server: Server, three: list[bytes], alone: list[Any]) -> None:
        answer = server.invoke(in_lines(three), LINES)
        assert answer.headers["Content-Type"] == LINES
        assert all(map(same, map(json.loads, answer.body.splitlines()), alone))
        assert answer.body.count(b"\n") == 3

    @pytest.mark.parametrize("kind", [JSON, LINES, "form"])
    def test_a_bad_record_fails_alone_with_its_place(
        self, kind: str, server: Server, three: list[bytes], alone: list[Any]
    ) -> None:
        mixed = [three[0], b"no picture", three[2]]
        body, content_type = form(mixed) if kind == "form" else ((in_json if kind == JSON else in_lines)(mixed), kind)
        first, bad, last = predictions(server.invoke(body, content_type, Accept=JSON))
        assert same(first, alone[0])
        assert same(last, alone[2])
        assert bad["error"]["code"] == "bad_image"
        assert bad["error"]["index"] == 1

    def test_none_usable_is_400_with_every_reason(self, server: Server) -> None:
        answer = server.invoke(in_json([b"no", b""]), JSON)
        assert (answer.status, answer.json["code"]) == (400, "no_usable_record")
        assert [error["index"] for error in answer.json["errors"]] == [0, 1]

    def test_a_url_is_refused_with_the_reason(self, server: Server) -> None:
        answer = server.invoke('{"url": "http://127.0.0.1:8080/ping"}', JSON)
        assert (answer.status, answer.json["code"]) == (400, "url_refused")
        assert "never fetched" in answer.json["message"]

    def test_more_records_than_allowed(self, server: Server, three: list[bytes]) -> None:
        answer = server.invoke(in_lines(three[:1] * 21), LINES)
        assert (answer.status, answer.json["code"]) == (413, "too_many_records")
        assert len(predictions(server.invoke(in_json(three[:1] * 20), JSON))) == 20

    @pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b'{"instances": 1}'])
    def test_what_is_not_json_of_a_known_form(self, body: bytes, server: Server) -> None:
        assert (server.invoke(body, JSON).status, server.ping()) == (400, 200)


class TestAnswers:
    def test_csv(self, server: Server, three: list[bytes], alone: list[Any]) -> None:
        path = "/invocations?top_k=2"
        answer = server.invoke(in_json([three[0], b"bad"]), JSON, path=path, Accept="text/csv;header=present")
        assert answer.headers["Content-Type"] == "text/csv;header=present"
        header, good, bad = csv.reader(answer.body.decode().splitlines())
        assert header == ["label_1", "probability_1", "label_2", "probability_2", "error"]
        assert [good[0], good[2]] == alone[0]["topk_labels"][:2]
        assert bad[:4] == [""] * 4
        assert bad[4].startswith("bad_image: ")

    def test_the_best_that_can_be_had(self, server: Server, three: list[bytes]) -> None:
        answer = server.invoke(three[0], Accept="text/html, text/csv;q=0.5, application/jsonlines;q=0.8")
        assert answer.headers["Content-Type"] == LINES
        assert answer.body.count(b"\n") == 1

    def test_a_threshold(self, server: Server, three: list[bytes], alone: list[Any]) -> None:
        limit = alone[0]["topk_probs"][1]
        answer = server.invoke(three[0], X_Amzn_SageMaker_Custom_Attributes=f"threshold={limit}").json
        assert answer["topk_labels"] == alone[0]["topk_labels"][:2]
        assert server.invoke(three[0], path="/invocations?threshold=1").json["topk_labels"] == []

    def test_the_full_distribution(self, server: Server, three: list[bytes]) -> None:
        answer = server.invoke(three[0], path="/invocations?top_k=1&full=true").json
        assert len(answer["topk_labels"]) == 1
        assert len(answer["labels"]) == len(answer["probabilities"]) == 6


def test_the_description_is_true_to_what_is_served(server: Server, tmp_path: Path) -> None:
    assert {"/ping", "/invocations", "/openapi.json"} <= described.paths(server)
    described.check(server, tmp_path)
    assert server.ping() == 200
