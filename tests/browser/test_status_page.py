"""local_sagemaker's status page, in a real browser before a real server with stand-ins for `train` and `serve`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins
import test_endpoints
import test_transforms
import test_tuning_jobs
from playwright.sync_api import Browser, Page, ViewportSize, expect
from started import BUCKET, DESK, Api, running

PHONE, WIDE = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
MODEL_NAME = "Model, such as dogs.tar.gz"  # the label of its field
METRICS = [
    {"Name": "train_loss", "Regex": r"val_loss=([-0-9.e]+);"},
    {"Name": "val_loss", "Regex": r"epoch=([0-9]+);"},
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with all kinds of jobs and two endpoints, one of them with many models."""
    if not DESK.exists():
        pytest.skip("local_sagemaker's environment is missing: make desk")
    folder = tmp_path_factory.mktemp("status")
    with running(folder / "state", stand_ins.venv(folder / "venv")) as started:
        fill(started)
        yield started


def fill(api: Api) -> None:
    algorithm = {"TrainingImage": "image", "TrainingInputMode": "File", "MetricDefinitions": METRICS}
    api.train("good-job", {"epochs": "5", "learning_rate": "0.0312345"}, AlgorithmSpecification=algorithm)
    api.train("bad-job", {"fail": "<b>the data is torn</b>"}, AlgorithmSpecification=algorithm)
    test_endpoints.deploy(api, "dogs", api.model("dogs"))
    test_endpoints.deploy(api, "zoo", f"s3://{BUCKET}/models/", mode="MultiModel")
    tune_and_transform(api)
    for name in ("good-job", "bad-job", "pair-job"):
        api.ended(name)


def tune_and_transform(api: Api) -> None:
    """A job on two hosts, a tuning job and a transform job, the latter two to their ends."""
    pair = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 10}
    api.train("pair-job", {"epochs": "1"}, ResourceConfig=pair)
    choice = {"Name": "learning_rate", "Values": ["0.03", "0.5"]}
    content = test_tuning_jobs.request("tuned", "Grid", 2, {"CategoricalParameterRanges": [choice]})
    test_tuning_jobs.tune(api, content)
    api.put("batch/a.png", b"a picture")
    test_transforms.transform(api, "batch-refused", "batch", "refuses")


@pytest.fixture(params=[(WIDE, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def page(browser: Browser, api: Api, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, open; whatever the browser complains of fails the test, and so does what does not fit."""
    viewport, scheme = request.param
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith(api.url) else complaints.append(f"asked {sent.url}"))
    page.goto(f"{api.url}/")
    yield page
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    context.close()
    assert width[0] <= width[1], "the page scrolls sideways"
    assert complaints == []


def open_one(page: Page, name: str) -> None:
    page.locator(f"button[data-key$='/{name}']").click()
    expect(page.locator("#title")).to_have_text(name)


def test_a_jobs_metrics_are_drawn_beside_its_log_and_hyperparameters(page: Page) -> None:
    open_one(page, "good-job")
    expect(page.locator("#log")).to_contain_text("epoch=5; val_loss=")
    expect(page.locator("#facts")).to_contain_text("learning_rate0.03123")
    chart = page.get_by_role("img")
    expect(chart).to_have_count(1)
    expect(chart).to_have_attribute("aria-label", "losstrain 0.2val 5")
    lines = page.locator("polyline").evaluate_all("lines => lines.map(line => line.points.length)")
    assert lines == [5, 5]
    heights = page.locator(".line1").evaluate("line => [...line.points].map(point => point.y)")
    assert heights == sorted(heights, reverse=True)  # 1 to 5 goes up


def test_a_failure_is_shown_as_text(page: Page) -> None:
    open_one(page, "bad-job")
    expect(page.locator("#failure")).to_contain_text("AlgorithmError: <b>the data is torn</b>, exit code: 3")


@pytest.mark.parametrize(("name", "model"), [("dogs", ""), ("zoo", "dogs.tar.gz")])
def test_an_endpoint_is_tried_with_a_picture_and_one_of_many_models_by_its_name(
    page: Page, tmp_path: Path, name: str, model: str
) -> None:
    open_one(page, name)
    if model:
        page.get_by_label(MODEL_NAME).fill(model)
    else:
        expect(page.get_by_label(MODEL_NAME)).to_be_hidden()
    file = tmp_path / "dog.png"
    file.write_bytes(b"a picture")
    page.get_by_label("Ask it about a picture").set_input_files(file)
    for part in ('"body": "a picture"', '"model": "dogs"'):
        expect(page.locator("#bars li")).to_contain_text(part)


def test_an_endpoints_log_is_shown(page: Page) -> None:
    open_one(page, "dogs")
    expect(page.locator("#log")).to_contain_text("GET /ping")


def test_all_hosts_of_a_job_are_heard(page: Page) -> None:
    open_one(page, "pair-job")
    expect(page.locator("#log")).to_contain_text("algo-1:\nbegins after epoch 0")
    expect(page.locator("#log")).to_contain_text("algo-2:\nbegins after epoch 0")


def test_a_tuning_jobs_best_is_shown_with_its_values(page: Page) -> None:
    open_one(page, "tuned")
    expect(page.locator("#facts")).to_contain_text("statusCompleted")
    expect(page.locator("#facts")).to_contain_text("besttuned-00")
    expect(page.locator("#facts")).to_contain_text("objective0.5")
    expect(page.locator("#facts")).to_contain_text("learning_rate0.03")


def test_a_transform_job_that_failed_says_why(page: Page) -> None:
    open_one(page, "batch-refused")
    expect(page.locator("#failure")).to_contain_text("no picture")
    expect(page.locator("#facts")).to_contain_text("modelbatch-refused")


def test_what_is_new_appears_by_itself_and_the_choice_stays(page: Page, api: Api) -> None:
    open_one(page, "good-job")
    name = f"later-{page.evaluate('innerWidth')}"
    api.train(name, {"epochs": "1"})
    expect(page.get_by_role("button", name=name)).to_be_visible()
    expect(page.locator("#title")).to_have_text("good-job")
    page.reload()
    expect(page.locator("#title")).to_have_text("good-job")
