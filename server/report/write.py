"""Reports as files: a page, a table each as CSV."""

from collections.abc import Sequence
from pathlib import Path

from server.files import AGAIN, write_atomic
from server.report.content import Report
from server.report.facts import RunFacts
from server.report.one_run import report_of
from shared.loading import loading
from shared.series_folder import is_series

PAGE = "report.html"


def report_on(runs: Sequence[Path], *, images: bool = True) -> Report:
    """Return the report of one run or series, or of several side by side.

    Args:
        runs: Their folders.
        images: Whether a rehearsal's example images are shown.

    Raises:
        RunError: One can't be read, or they can't be compared.
    """
    if any(map(is_series, runs)):
        with loading():
            from server.report import over_folds, over_seeds, series  # noqa: PLC0415  (with PyTorch)

        if len(runs) == 1:
            return series.report_of_series(runs[0])
        if over_folds.are_folds(runs):
            return over_folds.report_of_cross_validations(runs)
        return over_seeds.report_of_jobs(runs)
    return report_on_facts([RunFacts.read(run) for run in runs], images=images)


def report_on_facts(runs: Sequence[RunFacts], *, images: bool = True) -> Report:
    """Return the same of what runs say, as somebody may see it; raises as `report_on`."""
    if len(runs) == 1:
        return report_of(runs[0], images=images)
    from server.report.side_by_side import report_of_several  # noqa: PLC0415  (loads more)

    return report_of_several(runs)


def page_of(runs: Sequence[Path]) -> Path:
    """Return where the page of runs is written if nobody says."""
    return runs[0] / PAGE if len(runs) == 1 else Path("comparison.html")


def write_page(run: Path, out: Path | None = None) -> Path:
    """Write the page of a run into its folder, or elsewhere; returns the file."""
    return write_html(report_on([run]), out or page_of([run]))


def write_html(report: Report, out: Path) -> Path:
    """Write a report as a page; returns the file."""
    from server.report.render import html  # noqa: PLC0415  (with vl-convert)

    write_atomic(out, html(report).encode(), AGAIN)
    return out


def write_csv(report: Report, folder: Path) -> list[Path]:
    """Write each table of a report, and the points of each figure, as a CSV file; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for section in report.sections:
        for table in section.all_tables():
            file = folder / f"{section.name}-{table.name}.csv"
            write_atomic(file, table.as_csv().encode(), AGAIN)
            files.append(file)
    return files
