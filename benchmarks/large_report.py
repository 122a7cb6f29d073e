"""A report of twenty sites and a hundred rounds: how large it is, and how soon a browser shows it.

Runs with random figures are written as the round loop writes them, of each task that has much to show, and
their reports opened from the disk in Debian's Chromium, each time in a new tab: seconds from asking for the
page until it is painted and nothing more is loaded. A report may have 5 MB, and must be there in 2 s.

    python benchmarks/large_report.py [--quick]    # --quick: four sites, ten rounds; held to no figure
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import MB, conditions, finish, make_job
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from server.report.write import write_page
from tests.server.report.runs import write_run

TASKS = ("classification", "segmentation", "detection")
LARGEST_MB, LONGEST = 5.0, 2.0
WIDTHS = (1440, 390)


def main() -> None:
    """Measure, print, and exit with 1 where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small report; held to no figure")
    quick = parser.parse_args().quick
    sites, rounds, times = (4, 10, 1) if quick else (20, 100, 5)
    program = shutil.which("chromium")
    if program is None:
        parser.error("needs Debian's chromium")
    figures: dict[str, Any] = {**conditions(), "sites": sites, "rounds": rounds}
    missed: list[str] = []
    table = Table(title=f"The report of {sites} sites and {rounds} rounds")
    for column in ("task", "MB", "written in s", *(f"shown in s at {width} px" for width in WIDTHS)):
        table.add_column(column, justify="left" if column == "task" else "right")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for task in TASKS[:1] if quick else TASKS:
            names = [f"hospital-{number:02}" for number in range(1, sites + 1)]
            job = make_job(task_name=task, job_rounds=rounds)
            run = write_run(Path(folder), job, names, rounds, name=f"{task}-1")
            begun = time.perf_counter()
            page = write_page(run)
            found = {"mb": page.stat().st_size / MB, "written": time.perf_counter() - begun}
            found |= {f"at_{width}": shown_in(browser, page, width, times) for width in WIDTHS}
            table.add_row(task, *(f"{value:.2f}" for value in found.values()))
            figures[task] = found
            if found["mb"] > LARGEST_MB:
                missed.append(f"{task}: {found['mb']:.1f} MB")
            missed += [
                f"{task}: {found[key]:.2f} s {key}"
                for key in found
                if key[:3] == "at_" and found[key] > LONGEST
            ]
        browser.close()
    Console().print(table)
    finish("large_report", figures, missed, quick=quick)


def shown_in(browser: Browser, page: Path, width: int, times: int) -> float:
    """Return the median of the seconds until a page is shown, in tabs without anything kept."""
    seconds = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": width, "height": 900})
        tab = context.new_page()
        begun = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )  # painted
        seconds.append(time.perf_counter() - begun)
        context.close()
    return median(seconds)


if __name__ == "__main__":
    main()
