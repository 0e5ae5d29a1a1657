"""From bodies to records: JSON, JSON lines, multipart; what is bad in one record harms no other."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_classifier.errors import RequestError
from image_classifier.serving import requests
from image_classifier.serving.formats import Body, Options
from image_classifier.serving.requests import Record, Records

PICTURES = (b"\x89PNG one", b"two", bytes(range(256)))
TEXTS = [base64.b64encode(picture).decode() for picture in PICTURES]
LIMIT = 10
BOUNDARY = "xYzZY"


def read(body: Any, kind: Body = Body.JSON, boundary: str = "") -> Records:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.read(raw, Options(body=kind, boundary=boundary), LIMIT)


def outcome(record: Record) -> bytes | str:
    """The picture, or the code of what is wrong with it."""
    try:
        return bytes(record())
    except RequestError as error:
        status = error.status
        assert status == 400
        return error.code


def refused(body: Any, kind: Body = Body.JSON, boundary: str = "") -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(body, kind, boundary)
    assert len(caught.value.message) < 300
    return caught.value


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    head = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return b"".join(b"--xYzZY\r\n" + head + part + b"\r\n" for part in parts) + b"--xYzZY" + end


def test_a_picture_is_the_body_itself() -> None:
    found = read(b"anything", Body.PICTURE)
    assert ([outcome(record) for record in found.records], found.many) == ([b"anything"], False)


@pytest.mark.parametrize(
    ("body", "many"),
    [
        ({"instances": [{"b64": text} for text in TEXTS]}, True),
        ({"instances": TEXTS}, True),
        ({"inputs": TEXTS}, True),
        ({"inputs": TEXTS[0]}, False),
        ({"inputs": {"b64": TEXTS[0]}}, False),
        ({"b64": TEXTS[0]}, False),
        ({"id": 7, "b64": TEXTS[0], "extra": [1, 2]}, False),
        ({"instances": [TEXTS[0]]}, True),
    ],
)
def test_json_holds_one_picture_or_many(body: Any, many: bool) -> None:
    found = read(body)
    pictures = [outcome(record) for record in found.records]
    assert found.many is many
    assert pictures == list(PICTURES[: len(pictures)])
    assert len(pictures) in (1, 3)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_json_lines_hold_a_record_each(end: bytes) -> None:
    lines = [json.dumps({"b64": TEXTS[0]}), json.dumps(TEXTS[1]), json.dumps({"inputs": TEXTS[2]})]
    found = read("\n".join(lines).encode() + end, Body.LINES)
    assert ([outcome(record) for record in found.records], found.many) == (list(PICTURES), True)


def test_a_multipart_body_holds_a_record_a_part_in_their_order() -> None:
    found = read(form(*PICTURES), Body.MULTIPART, BOUNDARY)
    assert ([outcome(record) for record in found.records], found.many) == (list(PICTURES), True)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url_refused"),
        ("https://example.com/dog.jpg", "url_refused"),
        ("s3://bucket/dog.jpg", "url_refused"),
        ({"b64": 7}, "bad_record"),
        ({"b64": None}, "bad_record"),
        ({}, "bad_record"),
        ([], "bad_record"),
        (None, "bad_record"),
        (1.5, "bad_record"),
        ({"b64": "####"}, "bad_base64"),
        ({"b64": "QQ"}, "bad_base64"),
        ({"b64": "Q\nQ=="}, "bad_base64"),
        ({"b64": "QQ==QQ=="}, "bad_base64"),
        ({"b64": "Q_-Q"}, "bad_base64"),
        ({"b64": "ÄÖÜ="}, "bad_base64"),
        ("data:image/png;base64,QQ==", "bad_base64"),
    ],
)
def test_a_bad_record_fails_alone(value: Any, code: str) -> None:
    wanted = [PICTURES[0], code, PICTURES[1]]
    in_json = read({"instances": [TEXTS[0], value, TEXTS[1]]})
    in_lines = read("\n".join(json.dumps(each) for each in (TEXTS[0], value, TEXTS[1])).encode(), Body.LINES)
    assert [outcome(record) for record in in_json.records] == wanted
    assert [outcome(record) for record in in_lines.records] == wanted


@pytest.mark.parametrize("line", [b"", b"  ", b"{", b"\xff", b"[" * 60, b'{"b64": "QQ=="} x', b"9" * 5000, b"[0," * 65])
def test_a_line_that_is_not_json_fails_alone(line: bytes) -> None:
    good = json.dumps(TEXTS[0]).encode()
    found = read(b"\n".join([good, line, good]), Body.LINES)
    assert [outcome(record) for record in found.records] == [PICTURES[0], "bad_json", PICTURES[0]]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"nonsense", b"\xff\xfe{}", b'{"instances": ', b"9" * 5000, b"[" * 100_000),
        *([], {}, [TEXTS[0]], "text", 1, None, {"instances": TEXTS[0]}, {"instances": {"b64": TEXTS[0]}}),
        *({"images": TEXTS}, {"instances": 1}, {"instances": None}),
        *({"instances": [{} for _ in range(1000)]}, {"inputs": [[[0] * 100]] * 100}),
    ],
)
def test_a_body_that_is_not_of_a_known_form_is_400(body: Any) -> None:
    error = refused(body)
    assert (error.status, error.code) == (400, "bad_json")


def test_json_that_is_nested_too_deeply_is_400() -> None:
    error = None
    try:
        requests.read(b"[" * 100_000, Options(body=Body.JSON), 100_000)
    except RequestError as caught:
        error = caught
    assert error is not None
    assert "nested too deeply" in error.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"instances": []}', Body.JSON),
        (b"", Body.LINES),
        (form(), Body.MULTIPART),
    ],
)
def test_a_body_without_a_record_is_400(body: bytes, kind: Body) -> None:
    assert refused(body, kind, BOUNDARY).code == "no_records"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_more_records_than_the_limit_are_413(end: bytes) -> None:
    line, part = json.dumps(TEXTS[0]).encode(), PICTURES[0]
    for count in (LIMIT + 1, LIMIT + 2, 50 * LIMIT):
        for error in (
            refused({"instances": [TEXTS[0]] * count}),
            refused(b"\n".join([line] * count) + end, Body.LINES),
            refused(form(*[part] * count), Body.MULTIPART, BOUNDARY),
        ):
            assert (error.status, error.code) == (413, "too_many_records")
            assert "more than 10 pictures (CLASSIFIER_MAX_RECORDS)" in error.message
    assert len(read(b"\n".join([line] * LIMIT) + end, Body.LINES).records) == LIMIT
    assert len(read(form(*[part] * LIMIT), Body.MULTIPART, BOUNDARY).records) == LIMIT


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no form at all", form(b"x", end=b""), form(b"x")[:40], b"--other\r\n\r\n--other--"),
        b"--xYzZY\r\nContent-Type: image/png\r\n\r\nno disposition\r\n--xYzZY--",
        b"--xYzZY\r\n\xff\xfe: \xff\r\n\r\nx\r\n--xYzZY--",
    ],
)
def test_a_damaged_multipart_body_is_400(body: bytes) -> None:
    error = refused(body, Body.MULTIPART, BOUNDARY)
    assert (error.status, error.code) == (400, "bad_body")


@pytest.mark.parametrize("filler", [b"\r\n--xYzZ", b"\r\n", b"--xYzZY", b"\r\n--xYzZYx", b"\n", b"a: b\r\n"])
@pytest.mark.timeout(60)
def test_no_multipart_body_takes_time_with_the_square_of_its_size(filler: bytes) -> None:
    for body in (filler * (2_000_000 // len(filler)), form(filler * (2_000_000 // len(filler)))):
        try:
            read(body, Body.MULTIPART, BOUNDARY)
        except RequestError as error:
            status = error.status
            assert status in (400, 413)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "url", "inputs", "x"]), inner),
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"instances": value}).encode())
    | st.lists(JSON, max_size=5).map(lambda values: "\n".join(map(json.dumps, values)).encode())
    | st.lists(st.binary(max_size=50), max_size=5).map(lambda parts: form(*parts))
)


@settings(max_examples=500, deadline=None)
@given(body=BODIES, kind=st.sampled_from(Body))
@example(b'{"instances": ["\\ud800"]}', Body.JSON)
@example(b"--xYzZY--", Body.MULTIPART)
def test_any_body_gives_records_or_is_refused(body: bytes, kind: Body) -> None:
    try:
        found = read(body, kind, BOUNDARY)
    except RequestError as error:
        status = error.status
        assert status in (400, 413)
    else:
        assert 1 <= len(found.records) <= LIMIT
        assert all(isinstance(outcome(record), bytes | str) for record in found.records)
