"""What a person sees of a run: its progress until it ends, then its results."""

from rich.console import Console

from server.report.progress import Progress
from server.report.tables import print_results
from server.runs.control import RunControl, RunRow
from shared.errors import RunError
from shared.text.printable import printable


def show_run(control: RunControl, name: str) -> None:
    """Print what happens in a run until it ends, then its results.

    Raises:
        RunError: It has not finished.
    """
    console = Console()
    with Progress(console, control.look(name).job.evaluation.select_best) as progress:
        for event in control.follow(name):
            progress(event)
    ended = control.look(name)
    if ended.row.status != "finished":
        raise RunError(
            f"{ended.row.status}: {printable(ended.row.reason) or 'no reason given'}",
            where=name,
            remedy=str(
                ended.description.get("remedy") or f"`wardround resume {name}` {_goes_on(ended.row)}."
            ),
        )
    print_results(console, ended.job, ended.description)


def _goes_on(row: RunRow) -> str:
    return f"goes on after round {row.round}" if row.round else "begins it again"
