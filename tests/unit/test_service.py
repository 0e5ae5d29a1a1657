"""Bodies of many records and calls of many requests: one pass through the network, to each its own fate."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mms.context import Context

from calls import ask, asking, context
from image_classifier import images
from image_classifier.images import Pixels
from image_classifier.serving import handler, wire
from image_classifier.serving.formats import Body, Output

Picture = Callable[..., bytes]


def in_json(*pictures: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(each).decode()} for each in pictures]}).encode()


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pictures of each pass through the network, from now on."""
    engine, passes = handler._service._engine, []  # type: ignore[union-attr]
    run = engine.logits

    def counted(pixels: Pixels, alone: bool) -> Any:
        passes.append(len(pixels))
        return run(pixels, alone)

    monkeypatch.setattr(engine, "logits", counted)
    return passes


def test_many_records_are_one_pass_and_a_bad_one_fails_alone(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_passes(monkeypatch)
    pictures = [picture((20, 40, 220)), b"bad", picture((230, 160, 30))]
    status, answer, made = ask(model, in_json(*pictures), body=Body.JSON)
    alone = [ask(model, one)[1] for one in pictures]
    assert status == 200
    assert passes == [2, 1, 1]
    first, second, third = answer["predictions"]
    assert second["error"].keys() == {"code", "message", "index"}
    assert (second["error"]["code"], second["error"]["index"]) == ("bad_image", 1)
    for got, wanted in ((first, alone[0]), (third, alone[2])):
        assert got["topk_labels"] == wanted["topk_labels"]
        assert got["topk_probs"] == pytest.approx(wanted["topk_probs"], abs=1e-5)
    assert re.fullmatch(r"decode=0\.\d+,forward=0\.\d+,encode=0\.\d+,records=3,together=3", stages(made))


@pytest.mark.parametrize(("headers", "wanted"), [([{}], False), ([{wire.ALONE: "yes"}], True)])
def test_a_request_that_is_alone_may_use_all_cores(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch, headers: list[dict[str, str]], wanted: bool
) -> None:
    engine, heard = handler._service._engine, []  # type: ignore[union-attr]
    run = engine.logits

    def listen(pixels: Pixels, alone: bool) -> Any:
        heard.append(alone)
        return run(pixels, alone)

    monkeypatch.setattr(engine, "logits", listen)
    made = context(model, *headers)
    handler.handle([{"body": picture()} for _ in headers], made)
    assert heard == [wanted]


@pytest.mark.parametrize(("batch", "status"), [("true", 200), ("false", 400)])
def test_in_a_batch_transform_a_bad_record_is_answered_in_its_line(
    model: Path, monkeypatch: pytest.MonkeyPatch, batch: str, status: int
) -> None:
    monkeypatch.setenv("SAGEMAKER_BATCH", batch)
    handler.handle(None, context(model))
    got, answer, _ = ask(model, b'"no base64"\n', body=Body.LINES, output=Output.LINES)
    assert got == status
    assert (answer["error"] if status == 200 else answer["errors"][0])["code"] == "bad_base64"
    assert ask(model, b"no picture")[0] == 400


def test_a_worker_that_is_told_nothing_has_the_defaults(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASSIFIER_TOP_K", "2")
    handler.handle(None, context(model))
    (answer,) = handler.handle([{"body": picture()}], context(model, {})) or []  # as the doctor asks
    assert len(json.loads(answer)["topk_labels"]) == 2


def stages(made: Context, index: int = 0) -> str:
    return str(made.get_response_headers(index)[wire.STAGES])


def test_all_requests_of_a_call_share_a_pass_and_each_has_its_own_form(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_passes(monkeypatch)
    lines = b"\n".join(json.dumps(base64.b64encode(each).decode()).encode() for each in (picture(), b"bad"))
    made = context(
        model,
        asking(top_k=1),
        asking(body=Body.JSON, output=Output.CSV, top_k=2),
        asking(body=Body.JSON) | {wire.REQUEST_ID: "c"},
        asking(body=Body.LINES, output=Output.LINES),
    )
    bodies = [picture(), in_json(picture(), picture()), b"{", lines]
    answers = handler.handle([{"body": body} for body in bodies], made) or []
    assert passes == [4]
    assert [made.get_response_status(index)[0] for index in range(4)] == [200, 200, 400, 200]
    assert [made.get_response_content_type(index) for index in range(4)] == [
        *("application/json", "text/csv", "application/json", "application/jsonlines")
    ]
    assert len(json.loads(answers[0])["topk_labels"]) == 1
    assert answers[1].count(b"\n") == 2
    assert json.loads(answers[2])["request_id"] == "c"
    assert ["error" in json.loads(line) for line in answers[3].splitlines()] == [False, True]
    assert [stages(made, index)[-20:] for index in (0, 1, 3)] == [f"records={count},together=5" for count in (1, 2, 2)]


def test_more_records_than_memory_allows_at_once_are_several_passes(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler._service._engine, "batch_size", 2)  # type: ignore[union-attr]
    passes = count_passes(monkeypatch)
    body = in_json(*(picture((number * 50, 0, 0)) for number in range(5)))
    _, answer, _ = ask(model, body, body=Body.JSON)
    assert passes == [2, 2, 1]
    assert len(answer["predictions"]) == 5


def test_when_no_record_can_be_used_the_request_is_400_with_every_reason(model: Path) -> None:
    status, answer, _ = ask(model, in_json(b"bad", b""), body=Body.JSON)
    assert (status, answer["code"]) == (400, "no_usable_record")
    assert [error["index"] for error in answer["errors"]] == [0, 1]
    assert "empty" in answer["errors"][1]["message"]


def test_an_answer_beyond_the_limit_is_413(model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_classifier.serving.service.MIB", 10)
    status, answer, _ = ask(model, picture())
    assert (status, answer["code"]) == (413, "answer_too_large")


def test_a_fault_of_ours_in_one_record_fails_its_request_and_no_other(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = images.read

    def short_of_memory(data: bytes, *more: Any) -> Pixels:
        if data == b"huge":
            raise MemoryError
        return read(data, *more)

    monkeypatch.setattr(images, "read", short_of_memory)
    made = context(model, asking(body=Body.JSON), {})
    answers = handler.handle([{"body": in_json(picture(), b"huge")}, {"body": picture()}], made) or []
    assert [made.get_response_status(index)[0] for index in range(2)] == [507, 200]
    assert json.loads(answers[0])["code"] == "out_of_memory"


def test_a_batch_that_does_not_fit_into_memory_is_tried_in_halves(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = handler._service._engine  # type: ignore[union-attr]
    run, tried = engine.logits, []

    def small(pixels: Pixels, alone: bool) -> Any:
        tried.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(pixels, alone)

    monkeypatch.setattr(engine, "logits", small)
    status, answer, _ = ask(model, in_json(*[picture()] * 5), body=Body.JSON)
    assert (status, tried) == (200, [5, 2, 3, 1, 2])
    assert [len(each["topk_labels"]) for each in answer["predictions"]] == [3] * 5


def test_a_network_that_gives_no_numbers_is_500_not_an_empty_answer(
    model: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler._service._engine, "logits", lambda pixels, _: np.full((len(pixels), 3), np.nan))  # type: ignore[union-attr]
    status, answer, _ = ask(model, picture())
    assert (status, answer["code"]) == (500, "internal_error")
    assert "not a number" in caplog.text
