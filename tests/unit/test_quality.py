"""Numbers about answers, against those worked out by hand and against what must always hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import job_output
from image_classifier.insight import predictions, quality
from image_classifier.insight.predictions import Predictions

# Five pictures of a, b, b, c, c; the second b and the first c are taken for a and b.
HAND = Predictions(
    split="test",
    labels=("a", "b", "c"),
    paths=tuple("vwxyz"),
    targets=np.array([0, 1, 1, 2, 2]),
    choices=np.array([[0, 1, 2], [1, 0, 2], [0, 1, 2], [1, 2, 0], [2, 0, 1]]),
    shares=np.array([[0.95, 0.03, 0.02], [0.85, 0.1, 0.05], [0.65, 0.3, 0.05], [0.6, 0.3, 0.1], [0.55, 0.4, 0.05]]),
    losses=np.array([0.05, 0.16, 1.2, 1.3, 0.6]),
)


@pytest.fixture(scope="module")
def measured() -> quality.Quality:
    return quality.measure(HAND)


class TestByHand:
    def test_accuracy_and_each_class(self, measured: quality.Quality) -> None:
        assert (measured.right, measured.count, measured.accuracy) == (3, 5, 0.6)
        assert [(each.precision, each.recall) for each in measured.classes] == [(0.5, 1.0), (0.5, 0.5), (1.0, 0.5)]
        assert [each.f1 for each in measured.classes] == pytest.approx([2 / 3, 1 / 2, 2 / 3])
        assert measured.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
        assert measured.largest_class == 0.4

    def test_confusion_and_its_pairs(self, measured: quality.Quality) -> None:
        assert measured.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
        assert [(pair.label, pair.predicted, pair.count, pair.of) for pair in measured.pairs] == [
            ("b", "a", 1, 2),
            ("c", "b", 1, 2),
        ]
        assert [pair.likeness for pair in measured.pairs] == [0, 1]

    def test_the_worst_mistakes_come_first(self, measured: quality.Quality) -> None:
        assert measured.mistakes == (3, 2)
        assert measured.shown() == {0, 1, 2, 3}

    def test_calibration(self, measured: quality.Quality) -> None:
        bins = [(each.low, each.count, each.accuracy) for each in measured.bins]
        assert bins == [(0.5, 2, 0.5), (0.6, 1, 0.0), (0.8, 1, 1.0), (0.9, 1, 1.0)]
        by_hand = (2 * abs(0.5 - 0.575) + abs(0 - 0.65) + abs(1 - 0.85) + abs(1 - 0.95)) / 5
        assert measured.calibration_error == pytest.approx(by_hand)

    def test_calibration_before_the_temperature(self, measured: quality.Quality) -> None:
        assert measured.calibration_error_before is None
        before = np.array([0.95, 0.85, 0.65, 0.65, 0.55])
        again = quality.measure(replace(HAND, uncalibrated=before))
        by_hand = (abs(1 - 0.55) + 2 * abs(0 - 0.65) + abs(1 - 0.85) + abs(1 - 0.95)) / 5
        assert again.calibration_error == measured.calibration_error
        assert again.calibration_error_before == pytest.approx(by_hand)

    def test_the_line_for_the_log(self, measured: quality.Quality) -> None:
        said = measured.describe()
        assert said.startswith("Test: 3 of 5 pictures right, 60.0% (95 % interval 23.1% to 88.2%); top-3 100.0%")

    def test_the_file(self, measured: quality.Quality, tmp_path: Path) -> None:
        measured.write(tmp_path)
        content = json.loads((tmp_path / quality.FILE).read_text(encoding="utf-8"))
        assert content["accuracy"] == 0.6
        assert content["interval"] == list(measured.interval)
        assert content["top_3_accuracy"] == 1.0
        assert content["calibration_error"] == measured.calibration_error
        assert [each["label"] for each in content["classes"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),  # Newcombe 1998, table I
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_published(right: int, count: int, low: float, high: float) -> None:
    assert quality.wilson(right, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_is_a_share(pair: tuple[int, int]) -> None:
    right, count = pair
    low, high = quality.wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1


@given(st.integers(2, 7), st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_what_always_holds(classes: int, each: int, right: float, seed: int) -> None:
    said = job_output.make_predictions([f"class {i}" for i in range(classes)], each, right, seed)
    measured = quality.measure(said)
    assert measured.confusion.sum() == measured.count == classes * each
    assert measured.confusion.trace() == measured.right
    assert measured.accuracy <= measured.top_accuracy <= 1
    assert 0 <= measured.calibration_error <= 1
    assert sum(each.count for each in measured.bins) == measured.count
    assert all(not said.right[row] for row in measured.mistakes)
    assert measured.shown() <= set(range(measured.count))


def test_a_network_that_gives_no_numbers_can_be_measured() -> None:
    said = job_output.make_predictions(each=2)
    broken = Predictions(
        said.split, said.labels, said.paths, said.targets, said.choices, said.shares * np.nan, said.losses * np.nan
    )
    assert 0 <= quality.measure(broken).calibration_error <= 1


class TestTheFile:
    def test_it_comes_back_as_it_was_whatever_classes_are_called(self, tmp_path: Path) -> None:
        said = job_output.make_predictions()
        said = replace(said, uncalibrated=said.shares[:, 0] / 2)
        said.write(tmp_path)
        back = predictions.read(tmp_path, said.labels)
        assert back is not None
        assert (back.split, back.labels, back.paths) == (said.split, said.labels, said.paths)
        assert np.array_equal(back.targets, said.targets)
        assert np.array_equal(back.choices, said.choices)
        assert np.allclose(back.shares, said.shares, rtol=1e-5)
        assert np.allclose(back.losses, said.losses, rtol=1e-5)
        assert back.uncalibrated is not None
        assert np.allclose(back.uncalibrated, back.shares[:, 0] / 2, rtol=1e-4)

    @given(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=2, max_size=4, unique=True)
    )
    def test_labels_are_any_text(self, tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
        folder = tmp_path_factory.mktemp("any")
        said = job_output.make_predictions(labels, each=1)
        said.write(folder)
        back = predictions.read(folder)
        assert back is not None
        assert [back.labels[i] for i in back.targets] == labels

    def test_the_columns_are_those_that_are_documented(self, tmp_path: Path) -> None:
        job_output.make_predictions().write(tmp_path)
        head = (tmp_path / predictions.FILE).read_text(encoding="utf-8").splitlines()[0]
        assert head == (
            "split,path,label,predicted,confidence,loss,label_2,share_2,label_3,share_3,label_4,share_4,label_5,share_5"
        )

    @pytest.mark.parametrize("content", ["", "split,path\n", "a,b\n1,2\n", "\x00\x01", "split,path,label\ntest,x"])
    def test_another_file_is_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / predictions.FILE).write_text(content)
        assert predictions.read(tmp_path) is None
        assert predictions.read(tmp_path / "missing") is None
