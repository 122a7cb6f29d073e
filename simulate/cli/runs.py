"""What `wardround simulate` starts: one run, or a series of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from shared.job.schema import JobSpec
    from shared.series import Kind
    from simulate.session.session import Hospitals


@dataclass(frozen=True)
class Given:
    """What was typed.

    Attributes:
        command: The line itself, for the report.
    """

    job: "JobSpec"
    hospitals: "Hospitals"
    out: Path
    device: str
    baselines: bool
    command: str


def kind_of(
    seeds: int | None, learning_curve: str | None, *, leave_one_site_out: bool, cross_validation: bool
) -> "Kind | None":
    """Return which series of runs is asked for; None for a single run."""
    if learning_curve not in (None, "sites", "patients"):
        raise typer.BadParameter("is over sites or patients", param_hint="--learning-curve")
    if leave_one_site_out and learning_curve:
        raise typer.BadParameter("goes without --learning-curve", param_hint="--leave-one-site-out")
    if cross_validation and (leave_one_site_out or learning_curve):
        hint = "--cross-validation"
        raise typer.BadParameter("goes without --leave-one-site-out and --learning-curve", param_hint=hint)
    if cross_validation:
        return "folds"
    if leave_one_site_out:
        return "leave-one-site-out"
    if learning_curve is not None:
        return "sites" if learning_curve == "sites" else "patients"
    return None if seeds is None else "seeds"


def begin(
    given: Given,
    workers: str | None,
    console: "Console",
    track: Sequence[str],
    *,
    kind: "Kind | None",
    seeds: int,
) -> dict[str, Any]:
    """Begin a run, or a series of a kind, and bring it to its end; returns what a script is told."""
    from client.cli.progress_bar import tracked
    from simulate.series import run as series
    from simulate.session import session

    place = given.job, given.hospitals, given.out, given.device
    options: Any = {
        "baselines": given.baselines,
        "track": lambda rows: tracked(rows, console, "Checking the data"),
    }
    if kind is not None:
        folder, warnings = series.begin(*place, kind=kind, seeds=seeds, **options)
        return _carry_out(folder, workers, console, track, warnings)
    run = session.start(*place, **options)
    run.describe(command=given.command)
    session.execute(run, workers, console, track=track)
    return {"run": run.path, "description": run.read_description()}


def go_on(
    folder: Path, job: "JobSpec | None", workers: str | None, console: "Console", track: Sequence[str]
) -> dict[str, Any]:
    """Go on with a run or a series that was stopped; returns what a script is told."""
    from server.runs.folder import RunFolder
    from shared.errors import RunError
    from shared.series_folder import is_series
    from simulate.session.session import execute

    if is_series(folder):
        if job is not None:
            raise RunError("a series keeps its job; leave out JOB.toml", where="--resume")
        return _carry_out(folder, workers, console, track)
    run = RunFolder.open(folder, job)
    execute(run, workers, console, resume=True, track=track)
    return {"run": run.path, "description": run.read_description()}


def _carry_out(
    folder: Path, workers: str | None, console: "Console", track: Sequence[str], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    from simulate.series.run import execute

    report = execute(folder, workers, console, warnings=warnings, track=track)
    return {"series": folder, "report": report.as_json()}
