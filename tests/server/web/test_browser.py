"""The pages in a real Chromium: no error, no other host, nothing serious for axe, a keyboard is enough."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from server.runs.folder import RunFolder
from tests.jobs import job_text
from tests.server.web.place import CHROMIUM, Place
from tests.server.web.place import GOING as FLOWER_RUN

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_core_python.sync_playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

GOING, FINISHED = "heart-mri-20261126-090000", "heart-mri-20261120-091500"
SIZES = {"phone": (390, 844), "desk": (1440, 900)}
PATHS = (
    "/",
    f"/runs/{GOING}",
    f"/runs/{FINISHED}",
    "/runs/lung-ct-20261126-080000",
    f"/runs/{FINISHED}/report",
    f"/compare?run={FINISHED}&run=heart-mri-20261121-091500",
    "/submit",
    "/sites",
    "/people",
    "/runs/nope",
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, place: Place) -> Iterator[Callable]:
    """Return a function that opens a page of a size, and keeps what its console says and whom it asks."""
    with ExitStack() as stack:

        def come(size: str = "desk", *, name: str = "olga", script: bool = True, bypass_csp: bool = False):
            width, height = SIZES[size]
            context = browser.new_context(
                ignore_https_errors=True,
                viewport={"width": width, "height": height},
                java_script_enabled=script,
                bypass_csp=bypass_csp,
            )
            stack.callback(context.close)
            page = context.new_page()
            page.said, page.asked = [], []
            page.on("console", lambda message: page.said.append((message.type, message.text)))
            page.on("pageerror", lambda error: page.said.append(("error", str(error))))
            page.on("request", lambda request: page.asked.append(request.url))
            if name:
                page.goto(f"{place.url}/log-in")
                page.fill("#token", place.tokens[name])
                page.click("button")
                page.wait_for_url(f"{place.url}/")
            return page

        yield come


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_quiet_alone_and_accessible(open_page, place: Place, size: str) -> None:
    page, judged = open_page(size), open_page(size, bypass_csp=True)
    for path in ("/log-in", *PATHS):
        page.goto(place.url + path)
        if path != "/runs/nope":
            errors = [text for kind, text in page.said if kind in {"error", "warning"}]
            assert errors == [], path
        page.said.clear()
        assert all(url.startswith((place.url, "data:")) for url in page.asked), path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        judged.goto(place.url + path)
        found = axe.Axe().run(judged)["violations"]
        serious = [one for one in found if one["impact"] in {"serious", "critical"}]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == [], path
        if shots := os.environ.get("WARDROUND_SHOTS"):
            name = path.strip("/").partition("?")[0].replace("/", "-") or "runs"
            page.screenshot(path=f"{shots}/{name}-{size}.png", full_page=True)


def press_until(page, words: str, key: str = "Tab") -> None:
    """Go on with the keyboard until what has the focus says something."""
    for _ in range(80):
        focused = page.evaluate("document.activeElement.innerText || document.activeElement.id || ''")
        if focused.startswith(words):
            return
        page.keyboard.press(key)
    pytest.fail(f"the keyboard does not come to {words!r}")


def test_a_keyboard_is_enough(open_page, place: Place, going: RunFolder, tmp_path) -> None:
    """Log in, submit and stop without a mouse; the file is chosen by the dialog of the system."""
    (tmp_path / "knee.toml").write_text(job_text(job_name="keys"), encoding="utf-8")
    page = open_page(name="")
    page.goto(place.url)
    press_until(page, "token")
    page.keyboard.type(place.tokens["ada"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{place.url}/")
    press_until(page, "Submit a job")
    page.keyboard.press("Enter")
    page.wait_for_url("**/submit")
    press_until(page, "job")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(tmp_path / "knee.toml")
    press_until(page, "Check the job")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=What it asks for")
    press_until(page, "Submit this job")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/keys-*")
    assert [asked for asked in place.asked if asked.startswith("start keys-")]
    page.goto(f"{place.url}/runs/{GOING}")
    press_until(page, "Stop this run")
    page.keyboard.press("Enter")
    press_until(page, f"Stop {GOING}")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=is stopped")
    assert f"stop {FLOWER_RUN}" in place.asked


def test_a_page_shows_what_happens_without_being_loaded_again(
    open_page, place: Place, going: RunFolder
) -> None:
    page = open_page("phone")
    page.goto(f"{place.url}/runs/{GOING}")
    page.wait_for_selector("#live-state:text('live')")
    loads = len(page.asked)
    page.focus("#sites .wide")
    going.event("site_done", round=6, site="st-mary", phase="train", loss=0.7654, seconds=3.0)
    page.wait_for_selector("#sites:has-text('0.765')")
    assert len(page.asked) == loads
    assert page.title() == f"{GOING} – Wardround"
    assert [text for kind, text in page.said if kind == "error"] == []


def test_pages_work_without_a_script(open_page, place: Place) -> None:
    page = open_page(name="vera", script=False)
    page.goto(f"{place.url}/runs/{GOING}")
    assert "5 of 12" in page.text_content("#now")
    assert page.locator("#curves svg").count() == 2
    page.goto(f"{place.url}/")
    for name in (FINISHED, "heart-mri-20261121-091500"):
        page.check(f"input[value='{name}']")
    page.click("text=Compare the chosen runs")
    assert "side by side" in page.text_content("h1")
