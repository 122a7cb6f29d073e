"""`wardround submit`, `runs`, `watch`, `stop`, `resume` and `fetch`: the runs of a coordinator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.deploy import Coordinator

Folder = Annotated[Path, typer.Option("--dir", help="The coordinator's folder.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, as `runs` lists it.")]


def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.", show_default=False)],
    folder: Folder = Path(),
    follow: Annotated[bool, typer.Option("--watch", help="Show the run's progress until it ends.")] = False,
) -> None:
    """Run a job on the federation's sites; prints the name of the run."""
    from shared.job import load_job

    job = load_job(job_file)
    name = _coordinator(folder).submit(job)
    print(name, flush=True)
    if follow:
        watch(name, folder)


def runs(folder: Folder = Path()) -> None:
    """List the runs, the newest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "status", "round", "started (UTC)", "reason")
    for row in _coordinator(folder).list():
        table.add_row(row.name, row.status, f"{row.round}/{row.rounds}", row.started[:19], row.reason)
    Console().print(table)


def watch(name: RunName, folder: Folder = Path()) -> None:
    """Show the progress of a run until it ends, then its results."""
    from rich.console import Console

    from server.progress import Progress
    from server.tables import results_table
    from shared.errors import RunError

    console, coordinator = Console(), _coordinator(folder)
    run = coordinator.open(name)
    with Progress(console, run.job.evaluation.select_best) as progress:
        for event in coordinator.follow(name):
            progress(event)
    about = run.read_description()
    if run.status != "finished":
        raise RunError(
            f"{run.status}: {about.get('reason') or 'no reason given'}",
            where=name,
            remedy=f"`wardround resume {name}` goes on after round {run.last_round()}.",
        )
    console.print(results_table(run.job, about))


def stop(name: RunName, folder: Folder = Path()) -> None:
    """Stop a run; `resume` goes on with it."""
    _coordinator(folder).stop(name)
    print(f"{name} is stopped")


def resume(
    name: RunName,
    folder: Folder = Path(),
    follow: Annotated[bool, typer.Option("--watch", help="Show the run's progress until it ends.")] = False,
) -> None:
    """Go on with a run that was stopped, failed or was interrupted, after its last whole round."""
    _coordinator(folder).resume(name)
    print(name, flush=True)
    if follow:
        watch(name, folder)


def fetch(
    name: RunName,
    folder: Folder = Path(),
    out: Annotated[Path, typer.Option(help="Folder to copy it into.")] = Path(),
) -> None:
    """Copy a run's folder and check its models by their digests."""
    print(_coordinator(folder).fetch(name, out))


COMMANDS = (submit, runs, watch, stop, resume, fetch)


def _coordinator(folder: Path) -> "Coordinator":
    from server.deploy import open_coordinator

    return open_coordinator(folder)
