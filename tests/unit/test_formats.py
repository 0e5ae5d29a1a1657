"""Requests and answers: what is accepted, what is chosen, what is written."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_classifier.errors import RequestError
from image_classifier.serving import formats
from image_classifier.serving.formats import Options, Output, check_content_type, choose_output, choose_top_k

DEFAULT = "application/json"


def refused(call: object, *arguments: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize("header", [*formats.PICTURES, "IMAGE/JPEG", "image/png; charset=binary", " image/webp "])
def test_pictures_are_accepted(header: str) -> None:
    check_content_type(header)


@pytest.mark.parametrize(
    "header", [None, "", "text/plain", "application/json", "image/svg+xml", "image", ";", "video/mp4"]
)
def test_anything_else_is_415_with_what_is_accepted(header: str | None) -> None:
    error = refused(check_content_type, header)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert "image/jpeg" in error.message


@pytest.mark.parametrize(
    ("header", "output"),
    [
        (None, Output.JSON),
        ("", Output.JSON),
        ("*/*", Output.JSON),
        ("application/*", Output.JSON),
        ("application/json", Output.JSON),
        ("Application/JSON", Output.JSON),
        ("application/json; charset=utf-8", Output.JSON),
        ("application/json;verbose", Output.VERBOSE),
        ("application/json; verbose", Output.VERBOSE),
        ("text/html, application/json;q=0.5", Output.JSON),
        ("application/json;q=0.5, application/json;verbose", Output.VERBOSE),
        ("application/json, application/json;verbose", Output.JSON),
        ("application/json;verbose;q=0.1, */*;q=0.9", Output.JSON),
        ("image/png;q=1.0, */*;q=0.1", Output.JSON),
        (",,application/json,", Output.JSON),
    ],
)
def test_the_answer_is_chosen_by_accept(header: str | None, output: Output) -> None:
    assert choose_output(header, DEFAULT) is output


@pytest.mark.parametrize(
    "header", ["text/csv", "image/png", "application/json;q=0", "json", ",", "application/json;q=x"]
)
def test_what_cannot_be_met_is_406_with_what_can(header: str) -> None:
    error = refused(choose_output, header, DEFAULT)
    assert (error.status, error.code) == (406, "not_acceptable")
    assert "application/json;verbose" in error.message


def test_the_default_decides_when_nothing_is_asked_for() -> None:
    assert choose_output(None, "application/json;verbose") is Output.VERBOSE


@pytest.mark.parametrize(
    ("query", "attributes", "wanted"),
    [
        ({}, None, 5),
        ({}, "", 5),
        ({"top_k": "3"}, None, 3),
        ({}, "top_k=2", 2),
        ({}, "trace=1, top_k=2 ,x", 2),
        ({"top_k": "3"}, "top_k=2", 3),
        ({"other": "1"}, "other=2", 5),
        ({"top_k": "100000"}, None, 100_000),
        ({"top_k": "003"}, None, 3),
    ],
)
def test_top_k_comes_from_the_query_or_the_attributes(
    query: dict[str, str], attributes: str | None, wanted: int
) -> None:
    assert choose_top_k(query, attributes, 5) == wanted


@pytest.mark.parametrize(
    "text", ["0", "-1", "1.5", "many", "100001", "1e3", "²", "٣", "0000000019999999999", "9" * 5000]
)
def test_top_k_that_is_no_number_is_400(text: str) -> None:
    error = refused(choose_top_k, {"top_k": text}, None, 5)
    assert (error.status, error.code) == (400, "bad_option")
    assert len(error.message) < 100


HEADERS = st.text(max_size=80) | st.text("application/jsonverbose;q=.,*0159 ", max_size=80)


@settings(max_examples=300, deadline=None)
@given(header=st.none() | HEADERS)
@example("application/json;q=nan")
@example("application/json;q=" + "9" * 5000)
def test_any_accept_header_is_chosen_from_or_refused(header: str | None) -> None:
    try:
        assert choose_output(header, DEFAULT) in Output
    except RequestError as error:
        status = error.status
        assert status == 406


@settings(max_examples=300, deadline=None)
@given(query=st.none() | HEADERS, attributes=st.none() | HEADERS | st.text("top_k=0123456789,", max_size=30))
@example("0" * 8 + "1" + "9" * 5000, None)
def test_any_top_k_is_a_positive_number_or_refused(query: str | None, attributes: str | None) -> None:
    try:
        assert 1 <= choose_top_k({} if query is None else {"top_k": query}, attributes, 5) <= 100_000
    except RequestError as error:
        status = error.status
        assert status == 400


LABELS = ("amber", "blau", "日本")
LOGITS, SHARES = [0.5, 2.5, -1.0], [0.1, 0.85, 0.05]


@pytest.mark.parametrize("top_k", [1, 2, 3, 99])
def test_an_answer_ranks_its_labels(top_k: int) -> None:
    answer = json.loads(formats.encode(LOGITS, SHARES, LABELS, Options(Output.JSON, top_k)))
    assert answer == {
        "topk_indices": [1, 0, 2][:top_k],
        "topk_labels": ["blau", "amber", "日本"][:top_k],
        "topk_probs": [0.85, 0.1, 0.05][:top_k],
    }


def test_a_verbose_answer_holds_everything() -> None:
    answer = json.loads(formats.encode(LOGITS, SHARES, LABELS, Options(Output.VERBOSE, 1)))
    assert answer["predicted_label"] == "blau"
    assert (answer["labels"], answer["probabilities"], answer["logits"]) == (list(LABELS), SHARES, LOGITS)
    assert answer["topk_indices"] == [1]


def test_an_error_is_json_with_its_request() -> None:
    answer = json.loads(formats.encode_error("bad_image", 'It says "no".', "abc"))
    assert answer == {"code": "bad_image", "message": 'It says "no".', "request_id": "abc"}
