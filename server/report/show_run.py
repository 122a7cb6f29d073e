"""What a person sees of a run: its progress until it ends, then its results."""

from rich.console import Console

from server.report.progress import Progress
from server.report.tables import print_results
from server.runs.control import RunControl
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
            remedy=f"`wardround resume {name}` goes on after round {ended.row.round}.",
        )
    print_results(console, ended.job, ended.description)
