"""The page for people, in a real browser before a real server."""

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from server import Server, serving

PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
TURNED = 6  # an EXIF orientation: the camera was held upright

MakePicture = Callable[..., bytes]


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("page") / "serve.log"
    with serving(trained / "model", log, environment={"CLASSIFIER_PAGE": "true"}) as server:
        yield server.wait_until_ready()


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(browser: Browser, server: Server, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """The page, open; whatever the browser complains of fails the test.

    It asks for `tmp_path` so that a chosen file is removed after the page that may still be loading it.
    """
    context = browser.new_context(viewport=request.param, permissions=["clipboard-read", "clipboard-write"])
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: None if at_home(sent.url, server) else complaints.append(f"asked {sent.url}"))
    page.goto(f"http://127.0.0.1:{server.port}/")
    yield page
    spilling = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 "
        "&& e.clientWidth && getComputedStyle(e).display !== 'inline').map(e => e.outerHTML.slice(0, 80))"
    )
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    context.close()
    assert width[0] <= width[1], "the page scrolls sideways"
    assert spilling == [], "a text is wider than what holds it"
    assert [text for text in complaints if "status of 400" not in text] == []


def at_home(url: str, server: Server) -> bool:
    return url.startswith((f"http://127.0.0.1:{server.port}/", f"blob:http://127.0.0.1:{server.port}/"))


@pytest.fixture
def blue(picture: MakePicture, tmp_path: Path) -> Path:
    """A picture with a name that a shell would misread."""
    path = tmp_path / "it's $HOME.png"
    path.write_bytes(picture((20, 40, 220), (60, 40)))
    return path


def choose(page: Page, path: Path) -> None:
    page.get_by_label("Drop a picture here").set_input_files(path)
    expect(page.locator("#answer")).to_be_visible()


def bars(page: Page) -> list[tuple[str, str, float]]:
    """Each bar's label, number and share of the full width."""
    script = """items => items.map(item => [
        item.querySelector("b").textContent, item.querySelector("span").textContent,
        item.querySelector("i").getBoundingClientRect().width / item.querySelector("div").getBoundingClientRect().width
    ])"""
    return [tuple(row) for row in page.locator("#bars li").evaluate_all(script)]


def test_a_chosen_picture_is_shown_with_its_labels_as_bars(page: Page, server: Server, blue: Path) -> None:
    choose(page, blue)
    answer = server.invoke(blue.read_bytes()).json
    assert page.locator("#best").text_content() == answer["topk_labels"][0]
    shown = bars(page)
    assert [label for label, _, _ in shown] == answer["topk_labels"]
    assert [width for _, _, width in shown] == pytest.approx(answer["topk_probs"], abs=0.02)
    assert page.locator("#picture").evaluate("image => image.complete && image.naturalWidth === 60")
    assert "ms" in page.locator("#latency").inner_text()


def test_a_turned_picture_is_upright(page: Page, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = TURNED
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (60, 40), "red").save(path, exif=exif)
    choose(page, path)
    assert page.locator("#picture").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 60]


def test_a_dropped_and_a_pasted_picture_are_taken(page: Page, blue: Path) -> None:
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([event, holder, bytes]) => {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(bytes)], `${event}.png`, {type: "image/png"}));
                const options = {[holder]: files, bubbles: true, cancelable: true};
                const made = event === "drop" ? new DragEvent(event, options) : new ClipboardEvent(event, options);
                document.body.dispatchEvent(made);
            }""",
            [event, holder, list(blue.read_bytes())],
        )
        expect(page.locator("#prompt")).to_contain_text(f"{event}.png")
        expect(page.locator("#bars li")).to_have_count(3)


def test_the_number_of_labels_can_be_changed(page: Page, blue: Path) -> None:
    choose(page, blue)
    page.get_by_label("Labels to show").fill("1")
    page.keyboard.press("Enter")
    expect(page.locator("#bars li")).to_have_count(1)


def test_the_curl_command_is_the_same_request(page: Page, server: Server, blue: Path) -> None:
    choose(page, blue)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command: str = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator("#curl").inner_text()
    done = subprocess.run(shlex.split(command), capture_output=True, check=True, cwd=blue.parent)
    assert done.stdout == server.invoke(blue.read_bytes()).body


def test_what_is_no_picture_is_refused_in_one_sentence(page: Page, tmp_path: Path, blue: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear all")
    page.get_by_label("Drop a picture here").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("The data is not a picture in a supported format")
    expect(page.locator("#answer")).to_be_hidden()
    page.get_by_label("choose another").set_input_files(blue)
    expect(page.locator("#answer")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_file_beyond_the_limit_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(bytes(6 * 2**20 + 1))
    page.get_by_label("Drop a picture here").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("larger than the limit of 6 MiB")


def test_it_works_with_the_keyboard_alone(page: Page, blue: Path) -> None:
    page.on("filechooser", lambda chooser: chooser.set_files(blue))
    page.reload()  # the browser hands its choosers over some time after it was asked to
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_be_visible()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["top_k", "copy", "curl", "A"]


def test_every_colour_can_be_read(browser: Browser, server: Server, blue: Path) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        choose(page, blue)
        for place in ("h1", "#best", "#bars span", "#latency", "#curl", "#copy", "footer a", "#kinds"):
            assert contrast(page, place) >= 4.5, (scheme, place)
        context.close()


def contrast(page: Page, place: str) -> float:
    """Ratio of the lightness of a text and what lies behind it, as WCAG 2 reckons it."""
    script = """element => {
        let behind = element;
        while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
        return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
    }"""
    colours = page.locator(place).first.evaluate(script)
    dark, light = sorted(map(lightness, colours))
    return (light + 0.05) / (dark + 0.05)


def lightness(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_but_its_own_script_may_run(browser: Browser, server: Server) -> None:
    page: Any = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))")
    assert page.evaluate("window.broken") is None
    page.close()


def test_without_the_setting_there_is_no_page(trained: Path, tmp_path: Path) -> None:
    with serving(trained / "model", tmp_path / "serve.log") as server:
        server.wait_until_ready()
        assert (server.ask("GET", "/").status, server.ask("GET", "/openapi.json").status) == (404, 200)
        assert "/" not in server.ask("GET", "/openapi.json").json["paths"]
