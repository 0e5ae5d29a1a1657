"""A user's own inference script: what it writes wins, what it leaves out is ours, its errors are answered as ours."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mms.context import Context, RequestProcessor

from calls import context
from image_classifier.contract import Settings
from image_classifier.errors import UserError
from image_classifier.serving import handler, user_code, wire

Picture = Callable[..., bytes]
Serve = Callable[..., Callable[..., tuple[int, str, str]]]


@pytest.fixture
def serve(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Load the trained model with a script; gives what answers a request with status, type and text."""
    model = tmp_path / "model"
    shutil.copytree(trained / "model", model)
    name = f"script_{abs(hash(tmp_path))}"  # a module of its own: Python imports each name once
    monkeypatch.setenv("SAGEMAKER_PROGRAM", f"{name}.py")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(handler, "_service", None)

    def load(script: str, place: str = "code") -> Callable[..., tuple[int, str, str]]:
        (model / place).mkdir(exist_ok=True)
        (model / place / f"{name}.py").write_text(script, encoding="utf-8")
        loading = Context("model", str(model), {}, 1, None, "1.1.11")
        loading.request_processor = [RequestProcessor({})]
        handler.handle(None, loading)

        def ask(body: bytes, content_type: str = "image/png", accept: str = "") -> tuple[int, str, str]:
            made = Context("model", str(model), {}, 1, None, "1.1.11")
            made.request_processor = [RequestProcessor({wire.CONTENT_TYPE: content_type, wire.ACCEPT: accept})]
            (answer,) = handler.handle([{"body": body}], made) or []
            return made.get_response_status(0)[0] or 200, made.get_response_content_type(0), bytes(answer).decode()

        return ask

    yield load
    sys.modules.pop(name, None)
    os.environ.pop("SAGEMAKER_PROGRAM", None)


def test_a_script_is_found_only_under_its_name(tmp_path: Path) -> None:
    settings = Settings.from_environment({})
    assert user_code.find(tmp_path, settings) is None
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "other.py").touch()
    assert user_code.find(tmp_path, settings) is None
    (tmp_path / "inference.py").touch()  # as older toolkits had it
    assert user_code.find(tmp_path, settings) == tmp_path / "inference.py"
    (tmp_path / "code" / "inference.py").touch()
    assert user_code.find(tmp_path, settings) == tmp_path / "code" / "inference.py"
    for program in ("other.py", "other", "code/other.py"):
        named = Settings.from_environment({"SAGEMAKER_PROGRAM": program})
        assert user_code.find(tmp_path, named) == tmp_path / "code" / "other.py"


def test_a_script_that_leaves_everything_out_answers_as_we_do(serve: Serve, picture: Picture) -> None:
    status, kind, text = serve("# nothing of its own\n")(picture())
    assert (status, kind) == (200, "application/json")
    assert sorted(json.loads(text)["topk_labels"]) == ["amber", "blue", "dark grey"]


def test_a_script_at_the_root_of_the_artifact_answers(serve: Serve) -> None:
    ask = serve("def transform_fn(model, data, content_type, accept): return 'from the root', 'text/plain'\n", ".")
    assert ask(b"") == (200, "text/plain", "from the root")


def test_all_four_functions_are_called(serve: Serve) -> None:
    ask = serve(
        "def model_fn(model_dir): return 3\n"
        "def input_fn(data, content_type): return float(data)\n"
        "def predict_fn(data, model): return data * model\n"
        "def output_fn(prediction, accept): return f'{prediction} as {accept}', 'text/plain'\n"
    )
    assert ask(b"2", "text/csv", "text/plain") == (200, "text/plain", "6.0 as text/plain")


SPEAKS = """
def model_fn(model_dir, context): return context.system_properties["model_dir"]
def input_fn(data, content_type, context): return context.get_request_header(0, "X-Amzn-SageMaker-Inference-Id")
def predict_fn(data, model, context):
    if data == "refused":
        context.set_response_status(422, "no", 0)
    return [data, context.request_processor[0].get_request_properties()["X-AMZN-SageMaker-Custom-Attributes"]]
def output_fn(prediction, accept, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen=" + prediction[0] + "\\r\\nu\u00e9")
    return " ".join(prediction)
"""


def test_a_script_reads_headers_and_sets_status_and_attributes(serve: Serve, tmp_path: Path) -> None:
    serve(SPEAKS)
    sent = [{wire.SAGEMAKER + "inference-id": name, wire.SAGEMAKER + "custom-attributes": "a"} for name in "xy"]
    sent.append({wire.SAGEMAKER + "inference-id": "refused", "X-Amzn-SageMaker-custom-attributes": "b"})
    made = context(tmp_path / "model", *sent)
    answers = handler.handle([{"body": b""}] * 3, made) or []
    assert answers == [b"x a", b"y a", b"refused b"]
    assert [made.get_response_status(index)[0] for index in range(3)] == [200, 200, 422]
    told = [made.get_response_headers(index)["X-Amzn-SageMaker-Custom-Attributes"] for index in range(3)]
    assert told == ["seen=x u?", "seen=y u?", "seen=refused u?"]


def test_a_script_may_refuse_with_a_status_of_its_own(serve: Serve) -> None:
    ask = serve(
        "from sagemaker_inference.errors import BaseInferenceToolkitError\n"
        "def predict_fn(data, model): raise BaseInferenceToolkitError(422, 'odd picture', 'Unprocessable')\n"
        "def input_fn(data, content_type): return data\n"
    )
    status, _, text = ask(b"")
    assert (status, json.loads(text)["message"]) == (422, "odd picture")


def test_a_scripts_own_prediction_is_written_by_the_toolkit(serve: Serve, picture: Picture) -> None:
    ask = serve("import numpy\ndef predict_fn(data, model): return numpy.array([1.5, 2.5])\n")
    assert ask(picture(), accept="application/json") == (200, "application/json", "[1.5, 2.5]")
    assert ask(picture(), accept="image/png")[0] == 406


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "code"),
    [
        (b"no picture", "image/png", "", 400, "bad_image"),
        (b"1,2", "text/csv", "", 415, "unsupported_media_type"),
        (None, "image/png", "video/mp4", 406, "not_acceptable"),
    ],
)
def test_mistakes_are_answered_as_without_a_script(
    serve: Serve, picture: Picture, body: bytes | None, content_type: str, accept: str, status: int, code: str
) -> None:
    got, kind, text = serve("x = 1\n")(picture() if body is None else body, content_type, accept)
    assert (got, kind, json.loads(text)["code"]) == (status, "application/json", code)


def test_an_error_of_the_script_is_500_without_a_traceback(serve: Serve, picture: Picture) -> None:
    status, _, text = serve("def predict_fn(data, model): return {(256, 256): 'secret'}[data.size]\n")(picture())
    assert (status, json.loads(text)["code"]) == (500, "internal_error")
    assert "secret" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("def model_fn(model_dir): raise ValueError('bad')\n", "bad"),
        ("def predict_fn(data, model): return data.nothing\n", "has no attribute 'nothing'"),
        ("def model_fn(model_dir): return 3\n", "model_fn gives a int, which only a predict_fn of yours can run"),
        ("def input_fn(data): return data\n", r"input_fn\(data\) in script_\d+.py cannot be called; write it as"),
    ],
)
def test_a_script_that_cannot_be_loaded_or_fails_on_a_picture_fails_the_load(
    serve: Serve, script: str, reason: str
) -> None:
    with pytest.raises((ImportError, ValueError, AttributeError, UserError), match=reason):
        serve(script)


@pytest.mark.parametrize("own", ["input_fn(data, content_type)", "model_warmup_fn(model_dir, model)"])
def test_a_script_that_reads_pictures_or_warms_up_itself_is_not_sent_one(serve: Serve, own: str) -> None:
    serve(f"def {own}: return 1\ndef predict_fn(data, model): raise ValueError('never called at start')\n")


@pytest.mark.parametrize(("answer", "text"), [("'text'", "text"), ("b'bytes'", "bytes"), ("bytearray(b'ba')", "ba")])
def test_answers_of_any_kind_become_bytes(serve: Serve, picture: Picture, answer: str, text: str) -> None:
    ask = serve(f"def output_fn(prediction, accept): return {answer}\n")
    assert ask(picture(), accept="text/plain")[2] == text
