"""Debian's Chromium, driven by Playwright: a page as people see it, and what no person would notice."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (1440, 390)
"""Pixels of a desk's screen and of a telephone's."""
_LIMIT_MS = 300_000  # of one step, on a machine with much else to do
_GRAVE = ("serious", "critical")


@dataclass
class Watched:
    """A tab of the browser.

    Attributes:
        page: Playwright's.
        complaints: What the console said that is an error, and errors of scripts.
        asked: Every address that was asked for something.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """Return every host and port that was asked for something."""
        return {urlsplit(url).netloc for url in self.asked if not url.startswith("data:")}

    def is_too_wide(self) -> bool:
        """Say whether the page has to be moved sideways to be read."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def barriers(self) -> list[str]:
        """Return what axe-core finds that keeps people out, with where it is."""
        found = Axe().run(self.page)["violations"]
        return [
            f"{one['id']}: {node['html'][:120]}"
            for one in found
            if one["impact"] in _GRAVE
            for node in one["nodes"]
        ]

    def focused(self) -> str:
        """Return the text or the name of what the keyboard is at."""
        return str(
            self.page.evaluate(
                "(e => e.labels?.[0]?.innerText || e.innerText || e.name)(document.activeElement)"
            )
        ).strip()

    def tab_to(self, name: str) -> None:
        """Press Tab until the keyboard is at what has this text; a person would give up sooner."""
        for _ in range(100):
            self.page.keyboard.press("Tab")
            if self.focused() == name:
                return
        raise AssertionError(f"the keyboard does not come to '{name}'")

    @contextmanager
    def another(self, *, scripts: bool = True) -> Iterator["Watched"]:
        """Open a tab of somebody else's in the same browser, which takes every certificate.

        Args:
            scripts: Runs them.
        """
        browser = self.page.context.browser
        assert browser is not None
        with _opened(browser, WIDTHS[0], trusts_all=True, scripts=scripts) as tab:
            tab.page.bring_to_front()
            yield tab


@contextmanager
def watched_tab(width: int = WIDTHS[0], *, trusts_all: bool = False) -> Iterator[Watched]:
    """Open a tab in a browser of its own, without any cookie.

    Args:
        width: Of its window, in pixels.
        trusts_all: Takes every certificate.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            with _opened(browser, width, trusts_all=trusts_all, scripts=True) as tab:
                yield tab
        finally:
            browser.close()


@contextmanager
def _opened(browser: Browser, width: int, *, trusts_all: bool, scripts: bool) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        ignore_https_errors=trusts_all,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(_LIMIT_MS)
    tab = Watched(context.new_page())
    tab.page.on("console", lambda said: tab.complaints.append(said.text) if said.type == "error" else None)
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    try:
        yield tab
    finally:
        context.close()
