"""`wardround submit`, `runs`, `watch`, `stop`, `resume` and `fetch`: the runs of a coordinator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
) -> None:
    """Run a job on the federation's sites; prints the name of the run."""
    from shared.job.schema import load_job

    job = load_job(job_file)
    control = _control(folder)
    name = control.submit(job, project)
    print(name, flush=True)
    if follow:
        _show(control, name)


def runs(
    folder: Folder = None,
    local: Annotated[
        Path | None,
        typer.Option(
            help="List the runs in this folder of this machine; runs, where nobody is logged in.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the runs, the newest first."""
    from rich.console import Console

    from server.folder.login import login_file
    from server.report.run_list import print_runs

    if local is None and folder is None and not login_file().exists():
        local = Path("runs")
    if local is None:
        print_runs(Console(), _control(folder).list())
        return
    from server.runs.local_runs import local_runs

    print_runs(Console(), local_runs(local), local=True)


def watch(name: RunName, folder: Folder = None) -> None:
    """Show the progress of a run until it ends, then its results."""
    _show(_control(folder), name)


def stop(name: RunName, folder: Folder = None) -> None:
    """Stop a run; `resume` goes on with it."""
    _control(folder).stop(name)
    print(f"{name} is stopped")


def resume(name: RunName, folder: Folder = None, follow: Follow = False) -> None:
    """Go on with a run that was stopped, failed or was interrupted, after its last whole round."""
    control = _control(folder)
    control.resume(name)
    print(name, flush=True)
    if follow:
        _show(control, name)


def fetch(
    name: RunName,
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="Folder to copy it into.")] = Path(),
) -> None:
    """Copy a run's folder and check its models by their digests."""
    print(_control(folder).fetch(name, out))


COMMANDS = (submit, runs, watch, stop, resume, fetch)


def _show(control: "RunControl", name: str) -> None:
    from server.report.show_run import show_run

    show_run(control, name)


def _control(folder: Path | None) -> "RunControl":
    """Return the runs of a folder of this machine, or of the coordinator that the user has logged in to."""
    if folder is None:
        from server.folder.login import load_login
        from server.runs.remote import RemoteCoordinator

        return RemoteCoordinator(load_login())
    from server.audit.log import operator_audit
    from server.runs.local import open_coordinator

    return open_coordinator(folder, operator_audit(folder))
