"""`wardround submit`, `runs`, `watch`, `stop`, `resume` and `fetch`: the runs of a coordinator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.answer import Json, answer, answer_line
from shared.cli.app import App
from shared.cli.ask import Yes, confirm

if TYPE_CHECKING:
    from server.runs.control import RunControl

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The coordinator's folder on this machine; without it, the coordinator of `wardround login`.",
        show_default=False,
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, as `runs` lists it.")]
Follow = Annotated[bool, typer.Option("--watch", help="Show the run's progress until it ends.")]


def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.", show_default=False)],
    folder: Folder = None,
    follow: Follow = False,
    project: Annotated[
        str | None, typer.Option(help="Project of the run; your only one if not given.", show_default=False)
    ] = None,
    priority: Annotated[
        str, typer.Option(help="Place in the queue: high (for operators), normal or low.")
    ] = "normal",
    json: Json = False,
) -> None:
    """Run a job on the federation's sites, once there is room; prints the name of the run."""
    from server.runs.control import PRIORITIES, is_priority
    from server.runs.reach import control_of
    from shared.job.schema import load_job

    if not is_priority(priority):
        raise typer.BadParameter(f"is one of {', '.join(PRIORITIES)}", param_hint="--priority")
    job = load_job(job_file)
    control = control_of(folder)
    name = control.submit(job, project, priority)
    _named(control, name, follow=follow, as_json=json)


runs_app = App(help="List the runs, the newest first; remove some.", invoke_without_command=True)


@runs_app.callback()
def runs(
    context: typer.Context,
    folder: Folder = None,
    local: Annotated[
        Path | None,
        typer.Option(
            help="List the runs in this folder of this machine; runs, where nobody is logged in.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs, the newest first."""
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from server.folder.login import login_file
    from shared.cli.table import table_lines

    if local is None and folder is None and not login_file().exists():
        local = Path("runs")
    if local is None:
        from server.runs.reach import control_of

        found = control_of(folder).list()
    else:
        from server.runs.local_runs import local_runs

        found = local_runs(local)
    titles = ("run", "status", "round", "started (UTC)", "project", "researcher", "reason")
    rows = [
        (
            row.name,
            row.status,
            f"{row.round}/{row.rounds}",
            row.started[:19],
            row.project,
            row.researcher or "-",
            row.reason,
        )
        for row in found
    ]
    answer(json, table_lines(titles, rows), runs=list(map(asdict, found)))


@runs_app.command()
def remove(
    context: typer.Context,
    name: RunName,
    folder: Folder = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove a run that has ended from its coordinator, with its models, for good."""
    from server.runs.reach import control_of

    confirm(f"Remove {name} and its models for good?", yes=yes, as_json=json)
    control_of(folder or context.obj).remove(name)
    answer(json, f"{name} is removed", run=name)


def watch(name: RunName, folder: Folder = None, json: Json = False) -> None:
    """Show the progress of a run until it ends, then its results."""
    from server.runs.reach import control_of

    control = control_of(folder)
    if json:
        _print_events(control, name)
    else:
        _show(control, name)


def stop(name: RunName, folder: Folder = None, json: Json = False) -> None:
    """Stop a run, or take it out of the queue; `resume` goes on with it."""
    from server.runs.reach import control_of

    control_of(folder).stop(name)
    answer(json, f"{name} is stopped", run=name)


def resume(name: RunName, folder: Folder = None, follow: Follow = False, json: Json = False) -> None:
    """Go on with a run that was stopped, failed or was interrupted, after its last whole round."""
    from server.runs.reach import control_of

    control = control_of(folder)
    control.resume(name)
    _named(control, name, follow=follow, as_json=json)


def fetch(
    name: RunName,
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="Folder to copy it into.")] = Path(),
    json: Json = False,
) -> None:
    """Copy a run's folder and check its models by their digests."""
    from server.runs.reach import control_of

    copy = control_of(folder).fetch(name, out)
    answer(json, str(copy), run=name, folder=copy)


COMMANDS = (submit, watch, stop, resume, fetch)


def _named(control: "RunControl", name: str, *, follow: bool, as_json: bool) -> None:
    """Print the name of a run that has begun or goes on, then follow it if that is wanted."""
    if as_json and follow:
        _print_events(control, name)
        return
    answer(as_json, name, run=name)
    if follow:
        _show(control, name)


def _print_events(control: "RunControl", name: str) -> None:
    """Print each event as it happens, then the run; one that has not finished ends with 2, as in words."""
    from dataclasses import asdict

    for event in control.follow(name):
        answer_line(event=event.kind, round=event.round, site=event.site, phase=event.phase, **event.data)
    found = control.look(name)
    answer_line(run=asdict(found.row), description=dict(found.description))
    if found.row.status != "finished":
        raise typer.Exit(2)


def _show(control: "RunControl", name: str) -> None:
    from server.report.show_run import show_run

    show_run(control, name)
