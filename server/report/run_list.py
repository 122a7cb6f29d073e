"""The list of runs on a terminal."""

from collections.abc import Sequence

from rich.console import Console

from server.report.columns import Column, fitting, print_whole, table_of
from server.runs.control import RunRow
from shared.text.printable import printable

_HEADINGS = ("run", "status", "round", "started (UTC)", "project", "researcher", "reason")
_OF_COORDINATOR = ("project", "researcher")


def print_runs(console: Console, rows: Sequence[RunRow], *, local: bool = False) -> None:
    """Print a list of runs, of which no name is cut.

    Args:
        console: Where to.
        rows: The runs.
        local: They belong to nobody's project.
    """
    columns = [
        Column(heading, [printable(_cells(row)[place]) for row in rows], left=True)
        for place, heading in enumerate(_HEADINGS)
        if not (local and heading in _OF_COORDINATOR)
    ]
    if not any(columns[-1].cells):
        columns = columns[:-1]
    name = columns[0]
    for group in fitting([columns[1:]], max(0, console.width - name.width)):
        print_whole(console, table_of([name, *group]))


def _cells(row: RunRow) -> tuple[str, ...]:
    round_ = f"{row.round}/{row.rounds}"
    return (row.name, row.status, round_, row.started[:19], row.project, row.researcher or "-", row.reason)
