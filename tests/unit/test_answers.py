"""What answers look like: JSON, JSON lines and CSV, for one picture and for many."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_classifier.errors import RequestError
from image_classifier.serving import answers
from image_classifier.serving.answers import NoneAnswered, Prediction
from image_classifier.serving.formats import Options, Output

LABELS = ("amber", "blau", '日本, "quoted"')
GOOD = Prediction([0.5, 2.5, -1.0], [0.1, 0.85, 0.05])
BAD = RequestError(400, "bad_image", "The picture is empty (0 bytes).")
TOP = {"topk_indices": [1, 0], "topk_labels": ["blau", "amber"], "topk_probs": [0.85, 0.1]}
ERROR = {"error": {"code": "bad_image", "message": "The picture is empty (0 bytes).", "index": 1}}


def one(**options: Any) -> Any:
    return json.loads(answers.write([GOOD], False, LABELS, Options(**options)))


@pytest.mark.parametrize("top_k", [1, 2, 3, 99])
def test_an_answer_ranks_its_labels(top_k: int) -> None:
    assert one(top_k=top_k) == {
        "topk_indices": [1, 0, 2][:top_k],
        "topk_labels": ["blau", "amber", LABELS[2]][:top_k],
        "topk_probs": [0.85, 0.1, 0.05][:top_k],
    }


def test_a_verbose_answer_holds_everything() -> None:
    assert one(output=Output.VERBOSE, top_k=2) == {
        **TOP,
        "predicted_label": "blau",
        "labels": list(LABELS),
        "probabilities": list(GOOD.probabilities),
        "logits": list(GOOD.logits),
    }


@pytest.mark.parametrize(("threshold", "named"), [(0, 3), (0.05, 3), (0.0500001, 2), (0.1, 2), (0.85, 1), (0.9, 0)])
def test_only_labels_at_or_above_the_threshold_are_named(threshold: float, named: int) -> None:
    answer = one(threshold=threshold)
    assert [len(answer[key]) for key in TOP] == [named] * 3


def test_the_full_distribution_comes_beside_the_first_labels() -> None:
    assert one(full=True, top_k=2) == {**TOP, "labels": list(LABELS), "probabilities": [0.1, 0.85, 0.05]}


def test_many_are_answered_in_a_list_with_errors_in_their_places() -> None:
    answer = json.loads(answers.write([GOOD, BAD, GOOD], True, LABELS, Options(top_k=2)))
    assert answer == {"predictions": [TOP, ERROR, TOP]}


def test_many_of_one_are_a_list_too() -> None:
    assert json.loads(answers.write([GOOD], True, LABELS, Options(top_k=2))) == {"predictions": [TOP]}


def test_json_lines_hold_one_line_a_record() -> None:
    text = answers.write([GOOD, BAD, GOOD], True, LABELS, Options(output=Output.LINES, top_k=2)).decode()
    assert text.endswith("\n")
    assert [json.loads(line) for line in text.splitlines()] == [TOP, ERROR, TOP]


def test_one_picture_fails_with_its_own_error() -> None:
    with pytest.raises(RequestError) as caught:
        answers.write([BAD], False, LABELS, Options())
    assert caught.value is BAD


@pytest.mark.parametrize("output", Output)
def test_when_none_can_be_used_the_request_fails_and_says_why_of_each(output: Output) -> None:
    with pytest.raises(NoneAnswered, match="None of the 2 pictures could be used; the first: The picture is") as caught:
        answers.write([BAD, BAD], True, LABELS, Options(output=output))
    assert (caught.value.status, caught.value.code) == (400, "no_usable_record")
    assert [error["index"] for error in caught.value.errors] == [0, 1]


@pytest.mark.parametrize("many", [[BAD], [BAD, BAD]])
def test_in_a_batch_a_list_is_answered_also_when_every_record_is_bad(many: list[RequestError]) -> None:
    lines = answers.write(many, True, LABELS, Options(output=Output.LINES), in_place=True).splitlines()
    assert [json.loads(line)["error"]["index"] for line in lines] == list(range(len(many)))
    rows = answers.write(many, True, LABELS, Options(output=Output.CSV, top_k=1), in_place=True).decode().splitlines()
    assert rows == [",,bad_image: The picture is empty (0 bytes)."] * len(many)
    with pytest.raises(RequestError) as caught:
        answers.write([BAD], False, LABELS, Options(), in_place=True)
    assert caught.value is BAD


def rows(labels: tuple[str, ...] = LABELS, **options: Any) -> list[list[str]]:
    text = answers.write([GOOD, BAD, GOOD], True, labels, Options(**options)).decode()
    return list(csv.reader(io.StringIO(text)))


def test_csv_is_one_row_a_record_without_a_header() -> None:
    error = "bad_image: The picture is empty (0 bytes)."
    good = ["blau", "0.85", "amber", "0.1", LABELS[2], "0.05", ""]
    assert rows(output=Output.CSV) == [good, [""] * 6 + [error], good]


def test_csv_says_what_its_columns_are_on_request() -> None:
    assert rows(output=Output.CSV_HEADER, top_k=2)[0] == [
        *("label_1", "probability_1", "label_2", "probability_2"),
        "error",
    ]
    assert rows(output=Output.CSV_HEADER, full=True)[:2] == [[*LABELS, "error"], ["0.1", "0.85", "0.05", ""]]


def test_csv_keeps_its_width_below_the_threshold() -> None:
    assert rows(output=Output.CSV, threshold=0.5, top_k=2)[0] == ["blau", "0.85", "", "", ""]


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=3, unique=True)


@given(names=NAMES, output=st.sampled_from([Output.CSV, Output.LINES]), full=st.booleans())
def test_a_record_is_one_line_whatever_its_labels(names: list[str], output: Output, full: bool) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in names]
    text = answers.write([GOOD, BAD, GOOD], True, names, Options(output=output, full=full)).decode()
    assert text.count("\n") == 3
    assert text.count("\r") == 0
    if output is Output.CSV:
        assert len({len(row) for row in csv.reader(io.StringIO(text, newline=""))}) == 1
