"""Requests and answers: what is accepted, what is chosen, what is written."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_classifier.contract import Settings
from image_classifier.errors import RequestError, UserError
from image_classifier.serving import formats
from image_classifier.serving.formats import Body, Options, Output, check_content_type, choose, choose_output

DEFAULT = "application/json"


def refused(call: object, *arguments: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("header", "body"),
    [
        *((name, Body.PICTURE) for name in formats.PICTURES),
        ("IMAGE/JPEG", Body.PICTURE),
        ("image/pjpeg", Body.PICTURE),
        ("image/heic", Body.PICTURE),
        ("image/png; charset=binary", Body.PICTURE),
        (" image/webp ", Body.PICTURE),
        ("application/json", Body.JSON),
        ("Application/JSON; charset=utf-8", Body.JSON),
        *((name, Body.LINES) for name in formats.LINES),
        ("multipart/form-data; boundary=x", Body.MULTIPART),
    ],
)
def test_every_media_type_says_what_the_body_holds(header: str, body: Body) -> None:
    assert check_content_type(header) is body


@pytest.mark.parametrize(
    "header",
    [None, "", "text/plain", "text/csv", "image/svg+xml", "Image/SVG+XML; x=1", "image", "image/", ";", "video/mp4"],
)
def test_anything_else_is_415_with_what_is_accepted(header: str | None) -> None:
    error = refused(check_content_type, header)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert "image/*" in error.message


@given(subtype=st.from_regex(r"[A-Za-z0-9!#$&^_.+-]{1,60}", fullmatch=True).filter(lambda s: s.lower() != "svg+xml"))
def test_whatever_kind_of_picture_is_said_the_bytes_decide(subtype: str) -> None:
    assert check_content_type(f"image/{subtype}") is Body.PICTURE


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
        ('application/json;charset="utf-8"', Output.JSON),
        ("application/json;verbose", Output.VERBOSE),
        ("application/json; verbose", Output.VERBOSE),
        ("text/html, application/json;q=0.5", Output.JSON),
        ("application/json;q=0.5, application/json;verbose", Output.VERBOSE),
        ("application/json, application/json;verbose", Output.JSON),
        ("application/json;verbose;q=0.1, */*;q=0.9", Output.JSON),
        ("image/png;q=1.0, */*;q=0.1", Output.JSON),
        (",,application/json,", Output.JSON),
        ("application/jsonlines", Output.LINES),
        ("application/x-ndjson", Output.LINES),
        ("text/csv", Output.CSV),
        ("text/*", Output.CSV),
        ("text/csv; header=absent", Output.CSV),
        ("text/csv; header=present", Output.CSV_HEADER),
        ('text/csv; header="present"', Output.CSV_HEADER),
        ("text/csv; charset=utf-8; header=present", Output.CSV_HEADER),
        ("text/csv;q=0.9, application/jsonlines;q=0.95", Output.LINES),
    ],
)
def test_the_answer_is_chosen_by_accept(header: str | None, output: Output) -> None:
    assert choose_output(header, DEFAULT) is output


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "image/*",
        "text/csv;header=perhaps",
        "image/png",
        "application/json;q=0",
        "json",
        ",",
        "application/json;q=x",
    ],
)
def test_what_cannot_be_met_is_406_with_what_can(header: str) -> None:
    error = refused(choose_output, header, DEFAULT)
    assert (error.status, error.code) == (406, "not_acceptable")
    assert "application/json;verbose" in error.message


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RequestError, match="no option 'topk'; there are top_k, threshold, full") as caught:
        chosen({"topk": "3"})
    assert (caught.value.status, caught.value.code) == (400, "bad_option")


@pytest.mark.parametrize(
    ("header", "output"),
    [
        ("*/*, application/json;q=0", Output.CSV),
        ("*/*, application/json;charset=utf-8;q=0", Output.CSV),
        ("application/*, application/json;q=0, text/csv;q=0.1", Output.CSV),
        ("application/json;verbose;q=0, application/json", Output.JSON),
    ],
)
def test_what_the_caller_refuses_is_never_sent(header: str, output: Output) -> None:
    assert choose_output(header, Output.JSON) is output


@pytest.mark.parametrize("default", ["*/*", "text/*;q=0.5", "application/x-ndjson", "text/html, text/csv", *Output])
def test_a_default_that_can_be_met_is_one(default: str) -> None:
    formats.check_default(default)
    assert choose_output("", default) in Output


@pytest.mark.parametrize("default", ["text/html", "image/*", "json", "text/csv;q=0"])
def test_a_default_that_cannot_be_met_is_refused_with_what_can(default: str) -> None:
    with pytest.raises(UserError, match=r"ACCEPT='.*' cannot be used: ask for one of application/json, .*\.$"):
        formats.check_default(default)


@pytest.mark.parametrize("header", [None, "", "*/*", "text/*, */*;q=0.1"])
def test_the_default_decides_when_nothing_is_asked_for(header: str | None) -> None:
    wanted = Output.CSV if header and "text" in header else Output.VERBOSE
    assert choose_output(header, "application/json;verbose") is wanted


@pytest.mark.parametrize(
    ("content_type", "accept", "default", "output"),
    [
        ("application/jsonlines", "", "application/json", Output.LINES),
        ("application/jsonlines", "*/*", "application/json", Output.LINES),
        ("application/jsonlines", "application/json", "application/json", Output.JSON),
        ("application/jsonlines", "", "text/csv", Output.CSV),
        ("application/json", "", "application/json", Output.JSON),
        ("image/png", "*/*", "text/csv", Output.CSV),
    ],
)
def test_json_lines_are_answered_in_kind(content_type: str, accept: str, default: str, output: Output) -> None:
    settings = Settings.from_environment({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": default})
    assert choose(content_type, accept, {}, "", settings).output is output


def chosen(query: dict[str, str], attributes: str = "") -> Options:
    return choose("image/png", "", query, attributes, Settings.from_environment({}))


@pytest.mark.parametrize(
    ("query", "attributes", "wanted"),
    [
        ({}, "", Options()),
        ({"top_k": "3"}, "", Options(top_k=3)),
        ({}, "top_k=2", Options(top_k=2)),
        ({}, "trace=1, top_k = 2 ,x", Options(top_k=2)),
        ({"top_k": "3"}, "top_k=2", Options(top_k=3)),
        ({}, "other=2", Options()),  # SageMaker's callers have attributes of their own
        ({"top_k": "100000"}, "", Options(top_k=100_000)),
        ({"top_k": "003"}, "", Options(top_k=3)),
        ({"threshold": "0.25"}, "", Options(threshold=0.25)),
        ({"threshold": "5e-324"}, "", Options(threshold=5e-324)),
        ({"threshold": "1"}, "full=true", Options(threshold=1, full=True)),
        ({"threshold": ".5", "full": "false"}, "threshold=0.1,full=true", Options(threshold=0.5)),
    ],
)
def test_options_come_from_the_query_or_the_attributes(query: dict[str, str], attributes: str, wanted: Options) -> None:
    assert chosen(query, attributes) == wanted


BAD = {
    "top_k": ["", "0", "-1", "1.5", "many", "100001", "1e3", "²", "٣", "0000000019999999999", "9" * 5000],
    "threshold": ["", "-0.1", "1.01", "2", "nan", "inf", "e", "1.1.1", "half", "²", "0." + "3" * 5000],
    "full": ["", "1", "True", "yes", "x" * 5000],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_an_option_that_cannot_be_used_is_400(name: str, text: str) -> None:
    error = refused(chosen, {name: text})
    assert (error.status, error.code) == (400, "bad_option")
    assert error.message.startswith(f"{name}=")
    assert len(error.message) < 110


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; boundary="a b:c"', "a b:c"),
        ("multipart/form-data; charset=utf-8; Boundary=----WebKitFormBoundaryx1", "----WebKitFormBoundaryx1"),
    ],
)
def test_a_multipart_body_brings_its_boundary(header: str, boundary: str) -> None:
    assert choose(header, "", {}, "", Settings.from_environment({})).boundary == boundary


@pytest.mark.parametrize("rest", ["", "; boundary=", '; boundary="a\r\nb"', "; boundary=ä", "; boundary=" + "x" * 71])
def test_a_multipart_body_without_a_usable_boundary_is_400(rest: str) -> None:
    error = refused(choose, f"multipart/form-data{rest}", "", {}, "", Settings.from_environment({}))
    assert (error.status, error.code) == (400, "bad_body")


OPTIONS = st.builds(
    Options,
    body=st.sampled_from(Body),
    boundary=st.from_regex(formats._BOUNDARY, fullmatch=True) | st.just(""),
    output=st.sampled_from(Output),
    top_k=st.integers(1, formats.MAX_TOP_K),
    threshold=st.floats(0, 1),
    full=st.booleans(),
)


@given(options=OPTIONS)
def test_options_reach_the_worker_as_they_were_chosen(options: Options) -> None:
    assert Options.from_header(options.header()) == options


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


TEXTS = st.none() | HEADERS | st.text("top_k=threshold,full.0123456789", max_size=30)


@settings(max_examples=300, deadline=None)
@given(content_type=TEXTS, query=st.dictionaries(st.sampled_from(list(BAD)), HEADERS), attributes=TEXTS)
@example("image/png", {"top_k": "0" * 8 + "1" + "9" * 5000}, None)
@example('multipart/form-data; boundary="', {}, "")
@example("multipart/form-data; boundary*=utf-8''%ff", {}, "")
def test_any_request_is_understood_or_refused(
    content_type: str | None, query: dict[str, str], attributes: str | None
) -> None:
    try:
        options = choose(content_type or "", "", query, attributes or "", Settings.from_environment({}))
        assert Options.from_header(options.header()) == options
    except RequestError as error:
        status = error.status
        assert status in (400, 415)


def test_an_error_is_json_with_its_request() -> None:
    answer = json.loads(formats.encode_error("bad_image", 'It says "no".', "abc"))
    assert answer == {"code": "bad_image", "message": 'It says "no".', "request_id": "abc"}
