"""The report: made from whatever exists, self-contained, and harmless whatever a class is called."""

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import job_output
from image_classifier.errors import UserError
from image_classifier.insight import report
from image_classifier.insight.report.wording import SPACE

Run = Callable[..., "subprocess.CompletedProcess[str]"]
VOID = {"meta", "br", "img", "link", "input", "hr", "col", "path"}
SECTIONS = ["learning", "rules", "layers", "resources", "time", "mistakes", "calibration", "classes", "settings"]


class Page(HTMLParser):
    """Tags, identifiers, links and visible text of a page; fails on tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace(SPACE, " ").split())

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, python: Run) -> Path:
    """A whole job's output, tensors included."""
    folder = tmp_path_factory.mktemp("job") / "output"
    data = job_output.write_job(folder)
    done = python("-c", job_output.TENSORS, str(data / "debug" / "tensors"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def page(output: Path) -> Page:
    return Page(report.write(output, verdicts=job_output.verdicts()))


class TestWhatItIs:
    def test_it_lies_beside_the_tables_and_is_small(self, output: Path, page: Page) -> None:
        assert (output / "data" / "report.html").stat().st_size < 500_000
        assert page.html.startswith("<!doctype html>")

    def test_nothing_is_loaded_from_outside_and_nothing_runs(self, page: Page) -> None:
        assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
        assert all(source.startswith("data:image/jpeg;base64,") for source in page.values("src"))
        assert all(link.startswith("#") for link in page.values("href"))
        assert not re.search(r"url\(|@import|https?://", page.html)
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert "default-src 'none'" in page.html

    def test_every_link_leads_to_a_part_of_the_page(self, page: Page) -> None:
        identifiers = page.values("id")
        assert len(identifiers) == len(set(identifiers))
        assert {link.removeprefix("#") for link in page.values("href")} <= set(identifiers)
        assert set(SECTIONS) <= set(identifiers)

    def test_class_names_are_shown_and_never_become_tags(self, page: Page) -> None:
        for name in job_output.HOSTILE:
            assert name in page.text
        assert "<script>alert" not in page.html
        assert len([1 for tag, _ in page.tags if tag == "img"]) == page.html.count("data:image/jpeg")

    def test_pictures_and_charts_have_a_description(self, page: Page) -> None:
        pictures = [attributes for tag, attributes in page.tags if tag == "img"]
        charts = [attributes for tag, attributes in page.tags if tag == "svg"]
        assert pictures
        assert charts
        assert all(each["alt"] for each in pictures)
        assert all(each.get("aria-label") or each.get("aria-hidden") for each in charts)

    def test_the_same_job_gives_the_same_page(self, output: Path, page: Page, tmp_path: Path) -> None:
        again = report.write(output, tmp_path / "else" / "again.html", job_output.verdicts())
        assert again.read_text(encoding="utf-8") == page.html


class TestWhatItSays:
    def test_the_first_screen_answers_four_questions(self, page: Page) -> None:
        questions = ("Did it learn?", "Is it healthy?", "Was the hardware used?", "What to do next?")
        places = [page.text.index(question) for question in questions]
        assert places == sorted(places)
        assert places[-1] < page.text.index("How learning went")

    def test_layers_steps_and_resources_are_there(self, page: Page) -> None:
        assert "Gradient norm (L2)" in page.text
        assert "Relative update of a step" in page.text
        assert "CPU, 2 cores" in page.text
        assert "Network, in mean 2 MB/s, peak 4 MB/s" in page.text
        assert "150 training steps" in page.text
        assert "A training step takes 250 ms (median of 150 steps, with its wait)" in page.text

    def test_the_waits_of_evaluation_are_not_those_of_training(self, page: Page) -> None:
        assert "waiting for the next batch 50 ms 20.0 %" in page.text

    def test_settings_and_versions(self, page: Page) -> None:
        assert "learning_rate 0.003" in page.text
        assert "torch 2.10.0" in page.text


MISSING = {
    "history.csv": "so there are no curves",
    "predictions.csv": "the job had no test split, or ended before the test",
    "run.json": "hyperparameters and versions are not known",
    "debug/tensors": "so there are no norms by layer",
    "debug/profiler": "so there is no timeline",
}


class TestWhatIsMissing:
    @pytest.mark.parametrize("part", MISSING)
    def test_a_missing_part_says_why_and_the_rest_is_there(self, output: Path, tmp_path: Path, part: str) -> None:
        shutil.copytree(output, tmp_path / "output")
        gone = tmp_path / "output" / "data" / part
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        if part == "history.csv":  # losses that were recorded as tensors would stand in for it
            shutil.rmtree(tmp_path / "output" / "data" / "debug" / "tensors")
        page = Page(report.write(tmp_path / "output", verdicts=job_output.verdicts()))
        assert MISSING[part] in page.text
        others = [text for name, text in MISSING.items() if name not in (part, "debug/tensors")]
        assert not [text for text in others if text in page.text]

    def test_a_job_that_failed_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "failure").write_text("UserError: there is no channel <b>training</b>.\nTraceback …")
        page = Page(report.write(tmp_path))
        assert "The job failed. UserError: there is no channel <b>training</b>." in page.text
        assert "Traceback" not in page.text
        assert "Did it learn? ✗ No The job failed before it could be measured." in page.text

    def test_no_directory_is_a_user_error(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is not a directory"):
            report.write(tmp_path / "missing")

    @pytest.mark.parametrize("damage", ["history.csv", "predictions.csv", "run.json", "confusion.csv"])
    def test_a_damaged_file_is_as_good_as_none(self, tmp_path: Path, damage: str) -> None:
        data = job_output.write_job(tmp_path / "output")
        (data / damage).write_bytes(b'\xff\xfe,"\x00\n1,2\n')
        assert Page(report.write(tmp_path / "output", verdicts=[])).text


def test_a_thousand_classes_and_many_points_make_a_page_of_bounded_size(tmp_path: Path) -> None:
    data = tmp_path / "output" / "data"
    data.mkdir(parents=True)
    job_output.write_history(data, epochs=1000)
    job_output.write_predictions(data, job_output.make_predictions([f"class number {i}" for i in range(1000)], each=5))
    job_output.write_system(data / "debug" / "profiler", gpus=8)
    job_output.write_timeline(data / "debug" / "profiler", steps=5000)
    rules = [job_output.verdict(f"Rule{i}", points=job_output.many_points()) for i in range(40)]
    path = report.write(tmp_path / "output", verdicts=rules)
    assert path.stat().st_size < 3_000_000
    assert "The 24 of 1000 classes with the most mistakes" in Page(path).text


class TestTheCommand:
    def test_it_says_where_the_report_is(self, tmp_path: Path, python: Run) -> None:
        job_output.write_job(tmp_path)
        done = python("-m", "image_classifier.insight.report", str(tmp_path))
        assert (done.returncode, done.stdout) == (0, f"report: {tmp_path / 'data' / 'report.html'}\n"), done.stderr
        assert Page(tmp_path / "data" / "report.html").text

    def test_a_wrong_directory_is_one_sentence(self, tmp_path: Path, python: Run) -> None:
        done = python("-m", "image_classifier.insight.report", str(tmp_path / "missing"))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("report: ")
        assert done.stderr.count("\n") == 1
