"""A user's own code/inference.py in the artifact: what it defines is used, what it leaves out is ours."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import described
import doors
from server import Answer, Server, serving

ALL_FOUR = """
import json
def model_fn(model_dir):
    return {"factor": 10, "dir": model_dir}
def input_fn(data, content_type):
    if content_type != "application/json":
        raise ValueError("json only")
    return json.loads(data)
def predict_fn(data, model):
    if data == "fail":
        raise RuntimeError("a secret of the model")
    return data * model["factor"]
def output_fn(prediction, accept):
    return json.dumps({"answer": prediction, "accept": accept}), "application/vnd.own+json"
"""
ONLY_PREDICT = """
def predict_fn(picture, model):
    return {"size": list(picture.size), "mode": picture.mode, "labels": list(model.config.labels)}
"""
SLOW = """
import time
def predict_fn(picture, model):
    time.sleep(3)
    return [1]
"""

Start = Callable[[str], AbstractContextManager[Server]]


@pytest.fixture(scope="module")
def with_script(trained: doors.Finished, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Serves the trained model with a script beside it."""

    def start(script: str) -> AbstractContextManager[Server]:
        base = tmp_path_factory.mktemp("user")
        model = Path(shutil.copytree(trained.model, base / "model"))
        (model / "code").mkdir()
        (model / "code/inference.py").write_text(script)
        environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
        return serving(model, base / "serve.log", environment=environment)

    return start


@pytest.fixture(scope="module")
def own(with_script: Start) -> Iterator[Server]:
    with with_script(ALL_FOUR) as server:
        yield server.wait_until_ready()


class TestAllFourFunctions:
    def test_all_four_are_used(self, own: Server) -> None:
        answer = own.invoke(b"4.2", "application/json", Accept="text/own")
        assert answer.status == 200, answer.body
        assert answer.json == {"answer": 42, "accept": "text/own"}
        assert answer.headers["Content-Type"] == "application/vnd.own+json"

    @pytest.mark.parametrize(("body", "kind"), [(b'"fail"', "application/json"), (b"1", "image/png")])
    def test_an_error_in_it_is_500_without_a_traceback(self, body: bytes, kind: str, own: Server) -> None:
        answer = own.invoke(body, kind, X_Request_Id="find-me")
        assert answer.status == 500
        assert answer.json["code"] == "internal_error"
        assert answer.json["request_id"] == "find-me"
        assert b"Traceback" not in answer.body
        assert b"secret" not in answer.body
        assert own.ping() == 200

    def test_the_log_says_which_functions_were_found(self, own: Server) -> None:
        assert "Functions of inference.py: model_fn, input_fn, predict_fn, output_fn; the rest is ours." in own.log

    def test_the_log_says_what_the_caller_is_not_told(self, own: Server) -> None:
        own.wait_for("a secret of the model", 30)
        assert "find-me" in own.log


@pytest.fixture(scope="module")
def mixed(with_script: Start) -> Iterator[Server]:
    with with_script(ONLY_PREDICT) as server:
        yield server.wait_until_ready()


SPEAKS = """
def input_fn(data, content_type, context):
    return context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
def predict_fn(data, model, context):
    return data, context.get_request_header(0, "X-Amzn-SageMaker-Session-Id")
def output_fn(prediction, accept, context):
    context.set_response_status(202, "later", 0)
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", f"heard={prediction[0]}")
    return str(prediction[1]), "text/plain"
"""


def test_custom_attributes_and_status_pass_in_both_directions(with_script: Start, tmp_path: Path) -> None:
    with with_script(SPEAKS) as server:
        server.wait_until_ready()
        sent = {"X-Amzn-SageMaker-Session-Id": "s-1"}
        for attributes in ("trace=7", "trace=8", "a" * 1000):
            asked = sent | {"X-Amzn-SageMaker-Custom-Attributes": attributes}
            answer = server.ask("POST", "/invocations", b"x", asked)
            assert (answer.status, answer.body) == (202, b"s-1"), server.log
            assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == f"heard={attributes}"
        described.check(server, tmp_path)  # promises only what such a script keeps


class TestOnlyPredict:
    @pytest.fixture
    def picture(self, pictures: Path) -> bytes:
        return next((pictures / "test").glob("*/*")).read_bytes()

    def test_the_rest_is_ours(self, mixed: Server, picture: bytes) -> None:
        answer = mixed.invoke(picture, Accept="application/json")
        assert answer.status == 200, answer.body
        assert answer.json["size"] == [64, 64]
        assert answer.json["mode"] == "RGB"
        assert answer.json["labels"][0] == "Circle"

    def test_our_refusals_too(self, mixed: Server, picture: bytes) -> None:
        assert mixed.invoke(picture, "text/plain").status == 415
        assert mixed.invoke(b"no picture").status == 400
        assert mixed.invoke(picture, Accept="text/html").status == 406


def test_a_request_in_flight_is_answered_before_the_server_ends(with_script: Start, pictures: Path) -> None:
    picture = next((pictures / "test").glob("*/*")).read_bytes()
    answers: list[Answer] = []
    with with_script(SLOW) as server:
        server.wait_until_ready()
        asking = threading.Thread(target=lambda: answers.append(server.invoke(picture)))
        asking.start()
        time.sleep(1)
        seconds = server.stop(patience=30)
        asking.join()
        assert server.wait() == 0, server.log
    assert [answer.status for answer in answers] == [200], server.log
    assert answers[0].json == [1]
    assert 1 < seconds < 30  # SageMaker gives no more
    assert "1 request(s) in flight" in server.log
