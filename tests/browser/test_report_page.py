"""The report in a real browser: on a desk and on a phone, light and dark, by keyboard, without colour.

Screenshots are kept beside the other results of the test run (`--basetemp`, or pytest's own folder).
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

import job_output
from image_classifier.insight import report

WIDTHS = {"desk": 1280, "phone": 390}

# Contrast of every piece of text with what is behind it, by WCAG 2: the list of those below 4.5 (3 for large text).
CONTRAST = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !node.checkVisibility()) continue;
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const [a, b] = [light(over(parts(style.color), behind(node))), light(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < (large ? 3 : 4.5)) found.push(`${text}: ${contrast.toFixed(2)}`);
    if (size < 11) found.push(`${text}: ${size} px`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a job whose class names are hostile."""
    output = tmp_path_factory.mktemp("job")
    job_output.write_job(output)
    return report.write(output, verdicts=job_output.verdicts())


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(WIDTHS))
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def noticed() -> list[str]:
    """What a page asked for, said, or tried."""
    return []


@pytest.fixture
def page(browser: Browser, path: Path, scheme: Any, device: str, noticed: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": WIDTHS[device], "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.on("request", lambda request: noticed.append(f"request {request.url[:60]}"))
    page.on("console", lambda message: noticed.append(f"console {message.text}"))
    page.on("pageerror", lambda error: noticed.append(f"error {error}"))
    page.on("dialog", lambda dialog: (noticed.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.goto(path.as_uri())
    yield page
    context.close()


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


def test_it_fits_its_width_and_is_shown_as_it_is_meant(
    page: Page, device: str, scheme: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[device]
    shot = tmp_path_factory.getbasetemp() / f"report-{device}-{scheme}.png"
    page.screenshot(path=shot, full_page=True)
    with Image.open(shot) as picture:
        assert picture.width == WIDTHS[device]
        corner = picture.convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert corner > 200 if scheme == "light" else corner < 60


def test_the_first_screen_of_a_desk_holds_the_four_answers(page: Page, device: str) -> None:
    answers = [page.locator(".answer").nth(i).bounding_box() for i in range(4)]
    assert all(answers)
    bottom = max(box["y"] + box["height"] for box in answers if box)
    assert bottom < 800 or device == "phone"
    first = answers[0]
    assert first
    assert first["y"] + first["height"] < 800


def test_nothing_is_asked_for_nothing_runs_and_nothing_goes_wrong(page: Page, path: Path, noticed: list[str]) -> None:
    open_all(page)
    asked = [each for each in noticed if not each.startswith("request data:image/jpeg")]
    assert asked == [f"request {path.as_uri()}"[: len("request ") + 60]]
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def test_every_text_has_contrast_and_size(page: Page) -> None:
    open_all(page)
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize(("scheme", "device"), [("light", "desk")], indirect=True)
class TestOnADesk:
    def test_the_keyboard_reaches_everything_and_shows_where_it_is(self, page: Page) -> None:
        reached = []
        for _ in range(200):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.outerHTML.slice(0, 40)"))
            if reached[-1].startswith("<body"):  # past the end
                break
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert "skip" in reached[0]
        assert reached[-1].startswith("<body")
        for kind in ("<a href", "<summary", "<div class"):
            assert [each for each in reached if each.startswith(kind)], kind

    def test_the_link_that_skips_leads_to_the_summary(self, page: Page) -> None:
        page.keyboard.press("Tab")
        box = page.locator(".skip").bounding_box()
        assert box
        assert box["x"] >= 0
        page.keyboard.press("Enter")
        assert page.url.endswith("#summary")

    def test_a_failed_rule_leads_to_what_it_means(self, page: Page) -> None:
        page.get_by_role("link", name="what it means").first.click()
        assert page.url.endswith("#rule-Overfit")
        card = page.locator("#rule-Overfit")
        assert card.get_by_text("It compares the losses of validation and training.").is_visible()
        assert card.get_by_text("Add data or augmentation, or stop earlier.").is_visible()

    def test_lines_differ_without_colour(self, page: Page) -> None:
        style = "lines => lines.map(line => getComputedStyle(line).strokeDasharray)"
        dashes = page.locator("#rule-Overfit .area .line").evaluate_all(style)
        assert len(dashes) == 3
        assert len(set(dashes)) == 3

    def test_headings_make_an_outline(self, page: Page) -> None:
        levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))

    def test_it_is_whole_where_scripts_are_off(self, browser: Browser, path: Path, page: Page) -> None:
        context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 800})
        plain = context.new_page()
        plain.goto(path.as_uri())
        shown = plain.locator("main").inner_text()
        context.close()
        assert shown == page.locator("main").inner_text()
