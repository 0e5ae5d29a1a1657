"""The predictor's class: every form of a picture, folders, and an endpoint that is busy."""

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy
import pytest
from botocore.exceptions import ClientError
from PIL import Image
from started import KEYS

from desk import DeskError
from workflow.predict import ImagePredictor, Prediction
from workflow.settings import Settings

ANSWER = b'{"topk_labels": ["dog", "cat"], "topk_probs": [0.75, 0.25]}'
DOG = Prediction(("dog", "cat"), (0.75, 0.25))
PICTURE = Image.new("RGB", (8, 8), (10, 20, 30))


class Runtime(ThreadingHTTPServer):
    """SageMaker's runtime with answers as they are wanted, and all that it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []  # of the next answers; 200 when there are none
        self.bodies: list[bytes] = []
        self.attributes: list[str | None] = []
        self.answer = ANSWER
        self.together: Barrier | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Runtime

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.server.attributes.append(self.headers.get("X-Amzn-SageMaker-Custom-Attributes"))
        if self.server.together:
            self.server.together.wait(20)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        text = self.server.answer if status == 200 else b'{"Message": "busy", "OriginalStatusCode": %d}' % status
        self.send_response(200 if status == 200 else 424)
        if status != 200:
            self.send_header("x-amzn-ErrorType", "ModelError")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *words: Any) -> None:
        return


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def asked(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> ImagePredictor:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": runtime.url}.items():
        monkeypatch.setenv(name, value)
    from workflow.account import session

    made = Settings(bucket="b", region=KEYS["AWS_DEFAULT_REGION"])
    return ImagePredictor("pets", session(made))


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_every_form_of_a_picture_is_understood(runtime: Runtime, asked: ImagePredictor, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(PICTURE))
    for form in (png(PICTURE), file, str(file), PICTURE, numpy.asarray(PICTURE)):
        assert asked.classify(form) == DOG
    pixels = {Image.open(io.BytesIO(body)).getpixel((3, 3)) for body in runtime.bodies}
    assert (len(runtime.bodies), pixels) == (5, {(10, 20, 30)})


def test_a_folder_is_asked_several_at_a_time_and_answered_in_order(
    runtime: Runtime, asked: ImagePredictor, tmp_path: Path
) -> None:
    for name in ("c.png", "a/b.png", "d.png", "e.png", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    runtime.together = Barrier(4)  # no answer before all four have come
    found = list(asked.classify_folder(tmp_path))
    assert [str(path.relative_to(tmp_path)) for path, _ in found] == ["a/b.png", "c.png", "d.png", "e.png"]
    assert {answer.label for _, answer in found} == {"dog"}


def test_a_busy_endpoint_is_asked_again(runtime: Runtime, asked: ImagePredictor) -> None:
    runtime.statuses = [503, 429]
    assert asked.classify(b"picture") == DOG
    assert len(runtime.bodies) == 3


def test_a_refusal_is_not_asked_again(runtime: Runtime, asked: ImagePredictor) -> None:
    runtime.statuses = [400]
    with pytest.raises(ClientError, match="ModelError"):
        asked.classify(b"no picture")
    assert len(runtime.bodies) == 1


def test_the_number_of_labels_can_be_chosen(runtime: Runtime, asked: ImagePredictor) -> None:
    asked.classify(b"picture")
    ImagePredictor("pets", asked.sagemaker_session, top_k=3).classify(b"picture")
    assert runtime.attributes == [None, "top_k=3"]


@pytest.mark.parametrize("answer", [b'{"label": "dog"}', b"dog", b'{"topk_labels": "dog", "topk_probs": [1]}'])
def test_another_images_answer_is_said_to_be_one(runtime: Runtime, asked: ImagePredictor, answer: bytes) -> None:
    runtime.answer = answer
    with pytest.raises(DeskError, match="endpoint pets answers otherwise than this image does"):
        asked.classify(b"picture")
