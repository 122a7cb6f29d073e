"""The report of twenty sites and a hundred rounds in a real Chromium, on a desk and on a telephone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.report.write import write_page
from tests.browser import WIDTHS, Watched, watched_tab
from tests.jobs import make_job
from tests.server.report.runs import write_run

SITES = [f"hospital-{number:02}" for number in range(1, 21)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = make_job(task_name="classification", job_rounds=100)
    return write_page(write_run(tmp_path_factory.mktemp("large"), job, SITES, 100))


@pytest.fixture(scope="module")
def tab() -> Iterator[Watched]:
    with watched_tab() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_large_report_can_be_read_on_every_screen(tab: Watched, page: Path, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    tab.page.goto(page.as_uri())
    assert not tab.is_too_wide()
    table = "getComputedStyle(document.querySelector('.wide')).backgroundImage"
    assert ("gradient" in tab.page.evaluate(table)) == (width == min(WIDTHS))  # shows where a table goes on
    assert tab.page.locator(".chart svg").count() > 0
    shown = tab.page.inner_text("body")
    assert all(site in shown for site in SITES)
    assert not tab.complaints
    assert set(tab.asked) == {page.as_uri()}
