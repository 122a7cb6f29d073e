"""The pages in a real Chromium: no error, no other host, nothing serious for axe, a keyboard is enough."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.runs.folder import RunFolder
from tests.browser import WIDTHS, Watched, watched_tab
from tests.jobs import job_text
from tests.server.web.place import GOING as FLOWER_RUN
from tests.server.web.place import Place

GOING, FINISHED = "heart-mri-20261126-090000", "heart-mri-20261120-091500"
PATHS = (
    "/",
    f"/runs/{GOING}",
    f"/runs/{FINISHED}",
    "/runs/lung-ct-20261126-080000",
    f"/runs/{FINISHED}/report",
    f"/compare?run={FINISHED}&run=heart-mri-20261121-091500",
    f"/runs/{GOING}/numbers?metric=iou",
    "/submit",
    "/sites",
    "/people",
)


@pytest.fixture(scope="module")
def tab(stage) -> Iterator[Watched]:
    """Return a tab in which the operator is logged in."""
    with watched_tab(trusts_all=True) as opened:
        log_in(opened, stage[0], "olga")
        yield opened


def log_in(tab: Watched, place: Place, name: str) -> None:
    tab.page.goto(f"{place.url}/log-in")
    tab.page.fill("#token", place.tokens[name])
    tab.page.click("button")
    tab.page.wait_for_url(f"{place.url}/")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(WIDTHS[0], "dark"), (WIDTHS[1], "light")])
def test_every_page_can_be_read_by_all(tab: Watched, place: Place, width: int, scheme) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    tab.page.emulate_media(color_scheme=scheme)
    found: dict[str, list[str]] = {}
    for path in ("/log-in", *PATHS):
        tab.page.goto(place.url + path)
        tab.page.locator("#report-now").wait_for(state="detached", timeout=120_000)  # of a report
        tab.page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        found[path] = tab.barriers() + ["is too wide"] * tab.is_too_wide()
    assert not {path: what for path, what in found.items() if what}
    assert not tab.complaints
    assert tab.hosts() == {urlsplit(place.url).netloc}


def test_a_page_that_is_not_there_says_so(tab: Watched, place: Place) -> None:
    tab.page.goto(f"{place.url}/runs/nope")
    assert tab.page.text_content("h1") == "Not found"
    assert tab.barriers() == []
    tab.complaints.clear()  # the browser itself says that it is not there


def test_a_keyboard_is_enough(tab: Watched, place: Place, going: RunFolder, tmp_path: Path) -> None:
    """Log in, submit and stop without a mouse; the file is chosen by the dialog of the system."""
    (tmp_path / "keys.toml").write_text(job_text(job_name="keys"), encoding="utf-8")
    with tab.another() as own:
        page = own.page
        page.goto(place.url)
        assert own.focused() == "Token"  # where one begins
        page.keyboard.type(place.tokens["ada"])
        page.keyboard.press("Enter")
        page.wait_for_url(f"{place.url}/")
        own.tab_to("Submit a job")
        page.keyboard.press("Enter")
        page.wait_for_url("**/submit")
        own.tab_to("Job file")
        page.set_input_files(
            ":focus", tmp_path / "keys.toml"
        )  # that Enter opens the dialog is Chromium's part
        own.tab_to("Check the job")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=What it asks for")
        own.tab_to("Submit this job")
        page.keyboard.press("Enter")
        page.wait_for_url("**/runs/keys-*")
        place.begin_runs()
        assert [asked for asked in place.asked if asked.startswith("start keys-")]
        page.goto(f"{place.url}/runs/{GOING}")
        own.tab_to("Stop this run …")
        page.keyboard.press("Enter")
        own.tab_to(f"Stop {GOING}")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=is stopped")
        assert f"stop {FLOWER_RUN}" in place.asked
        assert not own.complaints


def test_a_page_shows_what_happens_without_being_loaded_again(
    tab: Watched, place: Place, going: RunFolder
) -> None:
    page = tab.page
    page.set_viewport_size({"width": WIDTHS[1], "height": 900})
    page.goto(f"{place.url}/runs/{GOING}")
    page.wait_for_selector("#live-state:text('live')")
    loads = len(tab.asked)
    page.focus("#sites .wide")
    going.event("site_done", round=6, site="st-mary", phase="train", loss=0.7654, seconds=3.0)
    page.wait_for_selector("#sites:has-text('0.765')")
    assert len(tab.asked) == loads
    assert page.title() == f"{GOING} – Wardround"  # nothing that a site wrote has acted
    assert not tab.complaints


def test_the_list_of_runs_is_live_and_keeps_what_is_chosen(
    tab: Watched, place: Place, going: RunFolder
) -> None:
    page = tab.page
    page.goto(f"{place.url}/")
    page.check(f"input[value='{FINISHED}']")
    loads = len(tab.asked)
    waiting = {"for": "its sites", "sites": {"st-mary": {"state": "waits for approval"}}}
    going.describe(status="waiting", waiting=waiting)
    page.wait_for_selector(f"tr:has-text('{GOING}'):has-text('waiting')")
    page.wait_for_selector(f"#open:has-text('{GOING}')")
    assert page.is_checked(f"input[value='{FINISHED}']")
    going.describe(status="running", waiting=None)
    page.wait_for_selector(f"tr:has-text('{GOING}'):has-text('running')")
    assert [url for url in tab.asked[loads:] if not url.endswith("/live")] == []
    assert not tab.complaints


def test_a_page_is_loaded_again_when_its_run_ends(tab: Watched, place: Place, going: RunFolder) -> None:
    tab.page.goto(f"{place.url}/runs/{GOING}")
    tab.page.wait_for_selector("#live-state:text('live')")
    place.stopped(FLOWER_RUN)
    tab.page.wait_for_selector("text=Go on from round 5")
    assert not tab.complaints


def test_pages_work_without_a_script(tab: Watched, place: Place, going: RunFolder) -> None:
    with tab.another(scripts=False) as own:
        log_in(own, place, "vera")
        own.page.goto(f"{place.url}/runs/{GOING}")
        assert "5 of 12" in (own.page.text_content("#now") or "")
        assert own.page.locator("#curves svg").count() == 2
        own.page.goto(f"{place.url}/")
        for name in (FINISHED, "heart-mri-20261121-091500"):
            own.page.check(f"input[value='{name}']")
        own.page.click("text=Compare the chosen runs")
        own.page.wait_for_url("**/compare?*")
        while own.page.locator("#report-now").count():  # it is being made
            own.page.reload()
        assert "side by side" in (own.page.text_content("h1") or "")
