"""The hospital's page in a real browser, from a real process: read, on a telephone too, and by keyboard."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser import WIDTHS, Watched, watched_tab
from tests.cli import started
from tests.client.web.hospital import RUN, Hospital


@pytest.fixture(scope="module")
def site(copied: Callable[[Path], Hospital], tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return copied(tmp_path_factory.mktemp("chromium") / "site")


@pytest.fixture(scope="module")
def tab(site: Hospital) -> Iterator[Watched]:
    """A tab at the overview of the hospital's page."""
    command = [sys.executable, "-m", "wardround", "client", "page", "--dir", str(site.folder)]
    with watched_tab() as tab, started(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        link = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        tab.page.goto(link)
        yield tab
        process.terminate()


def base(tab: Watched) -> str:
    return tab.page.url.partition("://")[2].partition("/")[0]


@pytest.fixture(scope="module")
def paths(site: Hospital, tab: Watched) -> dict[str, str]:
    """Every page by its name; somebody has looked at the data."""
    tab.page.goto(f"http://{base(tab)}/data/discs")
    tab.page.get_by_role("button", name="Look at the images").click()
    tab.page.wait_for_selector("img.sheet")
    jobs = {"job": site.waiting, "private": site.private, "denied": site.denied, "trained": site.trained}
    plain = ("jobs", "data", "budgets", "log", "policy")
    return (
        {"overview": "/", "dataset": "/data/discs", "sent": f"/sent?job={site.trained.digest()}&run={RUN}"}
        | {name: f"/{name}" for name in plain}
        | {name: f"/jobs/{job.digest()}" for name, job in jobs.items()}
    )


@pytest.mark.parametrize(("width", "scheme"), [(WIDTHS[0], "dark"), (WIDTHS[1], "light")])
def test_every_page_can_be_read_by_all(tab: Watched, paths: dict[str, str], width: int, scheme) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    tab.page.emulate_media(color_scheme=scheme)
    found: dict[str, list[str]] = {}
    for name, path in paths.items():
        tab.page.goto(f"http://{base(tab)}{path}")
        tab.page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        found[name] = tab.barriers() + ["is too wide"] * tab.is_too_wide()
    assert not {name: what for name, what in found.items() if what}
    assert not tab.complaints
    assert tab.hosts() == {base(tab)}


def test_the_keyboard_alone_approves_a_job(site: Hospital, tab: Watched) -> None:
    tab.page.goto(f"http://{base(tab)}/")
    tab.tab_to("Read what disc-outline would do, and decide")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/jobs/*")
    tab.tab_to("I have read what this job does here and what leaves")
    tab.page.keyboard.press("Space")
    tab.tab_to("Approve disc-outline")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("text=You have approved the job")
    assert site.decision(site.waiting) == "approved"


def test_an_approval_that_nobody_read_is_not_sent(site: Hospital, tab: Watched) -> None:
    tab.page.goto(f"http://{base(tab)}/jobs/{site.private.digest()}")
    tab.page.get_by_role("button", name="Approve disc-size-private").click()
    assert tab.page.evaluate("document.querySelector('#read').validity.valueMissing")
    assert site.decision(site.private) == "waiting"
    tab.page.get_by_label("Reason for a denial").fill("The budget is nearly spent.")
    tab.page.get_by_role("button", name="Deny disc-size-private").click()
    tab.page.wait_for_selector("text=You have denied the job")
    assert site.decision(site.private) == "denied"
