"""The function that MMS's workers call, with MMS's own context, without MMS."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from calls import ask, context
from image_classifier import artifact
from image_classifier.errors import UserError
from image_classifier.images import Preprocessing
from image_classifier.serving import engines, handler, wire
from image_classifier.serving.formats import Output
from image_classifier.training.dataset import Split
from image_classifier.training.evaluation import Evaluator
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop

Picture = Callable[..., bytes]


def test_a_picture_is_answered_with_ranked_labels(model: Path, picture: Picture) -> None:
    status, answer, made = ask(model, picture(), top_k=2)
    assert status == 200
    assert made.get_response_content_type(0) == "application/json"
    assert len(answer["topk_labels"]) == 2
    assert answer["topk_probs"] == sorted(answer["topk_probs"], reverse=True)


def test_the_default_of_five_is_as_many_as_there_are(model: Path, picture: Picture) -> None:
    _, answer, _ = ask(model, picture())
    assert sorted(answer["topk_labels"]) == ["amber", "blue", "dark grey"]
    assert sum(answer["topk_probs"]) == pytest.approx(1)


def test_serving_gives_the_logits_of_trainings_evaluation(model: Path, trained: Path) -> None:
    paths = tuple(sorted((trained / "input" / "data" / "training" / "test").rglob("*.png")))
    network, config = artifact.load(model)
    source = PictureSource(Split(paths, (0,) * len(paths)), config.preprocessing, 50_000_000, 2)
    evaluator = Evaluator(torch.device("cpu"), 4, Stop())
    wanted = torch.cat([logits for logits, _ in evaluator.predict(network, source, "Testing")])
    answers = [ask(model, path.read_bytes(), output=Output.VERBOSE)[1] for path in paths]
    assert len(answers) == 9
    torch.testing.assert_close(torch.tensor([a["logits"] for a in answers]), wanted, rtol=0, atol=1e-4)
    probabilities = torch.tensor([a["probabilities"] for a in answers])
    torch.testing.assert_close(probabilities, (wanted / config.temperature).softmax(1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("body", [b"", b"no picture", b"\xff\xd8\xff\xe0half"])
def test_a_bad_picture_is_400_in_json(model: Path, body: bytes) -> None:
    status, answer, made = ask(model, body, request_id="abc")
    assert status == 400
    assert (answer["code"], answer["request_id"]) == ("bad_image", "abc")
    assert made.get_response_content_type(0) == "application/json"


def test_a_picture_beyond_the_limit_is_400(trained: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "_service", None)
    monkeypatch.setenv("CLASSIFIER_MAX_PIXELS", "1000")
    handler.handle(None, context(trained / "model"))
    status, answer, _ = ask(trained / "model", picture(size=(50, 50)))
    assert (status, answer["code"]) == (400, "bad_image")
    assert "limit is 1000 pixels" in answer["message"]


def test_each_request_of_a_batch_has_its_own_fate(model: Path, picture: Picture) -> None:
    made = context(model, {"x-request-id": "a"}, {"x-request-id": "b"}, {"x-request-id": "c"})
    answers = handler.handle([{"body": picture()}, {"body": b"bad"}, {"body": picture()}], made)
    assert answers is not None
    assert [made.get_response_status(index)[0] for index in range(3)] == [200, 400, 200]
    assert json.loads(answers[1])["request_id"] == "b"
    assert answers[0] == answers[2]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MemoryError(), 507, "out_of_memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            507,
            "out_of_memory",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), 507, "out_of_memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            507,
            "out_of_memory",
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), 503, "device_lost"),
        (ZeroDivisionError("secret detail"), 500, "internal_error"),
    ],
)
def test_an_error_inside_tells_nothing_of_the_inside(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(_pixels: object, _alone: bool) -> object:
        raise error

    monkeypatch.setattr(handler._service._engine, "logits", fail)  # type: ignore[union-attr]
    got, answer, _ = ask(model, picture())
    assert (got, answer["code"]) == (status, code)
    assert "secret" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)


def test_a_model_that_cannot_be_loaded_raises_and_leaves_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "model").mkdir()
    monkeypatch.setenv(wire.FOLDER_ENV, str(tmp_path / "words"))
    with pytest.raises(UserError, match="No model in"):
        handler.handle(None, context(tmp_path / "model"))
    word = wire.load_error_file(tmp_path / "words", "model").read_text(encoding="utf-8")
    assert word.startswith(f"No model in {tmp_path / 'model'} (found: nothing)")


def test_a_model_that_does_not_fit_raises_what_mms_answers_with_507(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(handler.engines, "load", fail)
    with pytest.raises(MemoryError, match="Out of memory"):
        handler.handle(None, context(trained / "model"))


def test_a_request_without_a_model_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(handler, "_service", None)
    with pytest.raises(RuntimeError, match="not loaded"):
        handler.handle([{"body": b""}], context(tmp_path, {}))


def test_the_artifact_s_preprocessing_is_used(model: Path) -> None:
    config = handler._service._engine.config  # type: ignore[union-attr]
    assert config.preprocessing == Preprocessing(image_size=32)


def test_a_default_accept_that_nobody_can_meet_is_refused_before_the_model_is_loaded(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html")
    monkeypatch.setattr(engines, "load", pytest.fail)
    wanted = r"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT='text/html' cannot be used: .* application/json;verbose, .*\.$"
    with pytest.raises(UserError, match=wanted):
        handler.handle(None, context(trained / "model"))
