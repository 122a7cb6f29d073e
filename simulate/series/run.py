"""A series of simulations: begun once, gone on with after any stop, summed up at its end."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from client.data.manifest.pooled_sites import Row
from server.files import disk_errors, write_atomic
from server.report.content import Report, words
from server.report.facts import RunFacts
from server.report.series import report_of_series
from server.report.tables import print_warnings, shown_metrics
from server.report.terminal import print_report
from server.report.write import PAGE, write_html
from server.runs.folder import RunFolder, run_name
from shared.job.schema import JobSpec
from shared.run_folder import SIMULATION
from shared.series import Kind, Member, Series
from shared.series_folder import FILE
from simulate.series.folds import carry_out_fold, is_over
from simulate.series.plan import folds_of, in_folds, members_of, variants_of
from simulate.session.hospitals import Setup
from simulate.session.session import Hospitals, carry_out, open_hospitals, settle
from simulate.session.setup import only_testing


def begin(
    job: JobSpec,
    hospitals: Hospitals,
    out: Path,
    device: str,
    *,
    kind: Kind,
    seeds: int,
    baselines: bool,
    track: Callable[[Sequence[Row]], Iterable[Row]] = iter,
) -> tuple[Path, list[str]]:
    """Make the folder of a new series; returns it, and what is doubtful about the data.

    All runs have the hospitals, test patients and scanners that the first seed draws: seeds differ
    in the training.

    Args:
        job: What each run trains; its seed is the first.
        hospitals: Where they come from.
        out: Folder of runs.
        device: See `Setup`.
        kind: What differs between the runs besides the seed.
        seeds: Of each variant.
        baselines: Whether each run has them.
        track: Wraps the rows, to show progress.

    Raises:
        WardroundError: The data or the options can't be used; nothing was made then.
    """
    folder = out / f"{run_name(job)}-{kind}"
    with disk_errors(out):
        folder.mkdir(parents=True)
    try:
        setup, warnings = open_hospitals(
            job, hospitals, out, folder, device, baselines=baselines, track=track
        )
        setup = setup.model_copy(update={"split_seed": job.job.seed})
        sites = [site.name for site in setup.sites]
        idle = only_testing(job, setup.sites, setup.cohorts())
        variants = variants_of(kind, job, sites, list(dict.fromkeys([*hospitals.held_out, *idle])))
        series = Series(
            kind=kind,
            job=job.model_dump(mode="json"),
            starts=hospitals.starts.resolve(),
            sites=sites,
            variants=variants,
            members=in_folds(folds_of(job, setup.sites, baselines=baselines), job.job.seed, seeds)
            if kind == "folds"
            else members_of(variants, job.job.seed, seeds),
        )
        write_atomic(folder / SIMULATION, setup.model_dump_json(indent=2).encode())
        write_atomic(
            folder / FILE, series.model_dump_json(indent=2).encode()
        )  # from here on it can be resumed
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder, warnings


def execute(
    folder: Path,
    workers: str | None,
    console: Console,
    *,
    warnings: Sequence[str] = (),
    track: Sequence[str] = (),
) -> Report:
    """Bring every run of a series to its end; print, write as a page and return what they say together.

    Args:
        folder: Of the series; runs that have finished stay, one that was stopped goes on.
        workers: As for `simulate.session.session.execute`.
        console: Shows progress and the tables.
        warnings: What is doubtful about the data.
        track: Trackers that are told of each run.

    Raises:
        WardroundError: Something stopped a run; the series can be resumed.
    """
    series, setup = Series.read(folder), Setup.read(folder / SIMULATION)
    print_warnings(console, warnings)
    for number, member in enumerate(series.members, 1):
        run = _run_of(series, member, folder, setup, warnings)
        if run is not None:
            console.print(f"{member.name}: {number} of {len(series.members)}", highlight=False)
            bring = carry_out if member.fold is None else carry_out_fold
            bring(run, workers, console, resume=run.has_begun(), track=track)
        if member.fold is None:
            console.print(_line(folder / member.name), soft_wrap=True, highlight=False, markup=False)
    report = report_of_series(folder)
    print_report(console, report)
    console.print(f"Report: {write_html(report, folder / PAGE)}", soft_wrap=True, highlight=False)
    console.print(f"Series: {folder}", soft_wrap=True, highlight=False)
    return report


def _run_of(
    series: Series, member: Member, folder: Path, setup: Setup, warnings: Sequence[str]
) -> RunFolder | None:
    """Return a run of a series as it stands or new; None where it has finished."""
    path = folder / member.name
    if (path / SIMULATION).exists():
        run = RunFolder.read(path)
        if run.status == "finished" or (member.fold is not None and is_over(run)):
            return None
        if run.has_begun():
            return run
    shutil.rmtree(path, ignore_errors=True)  # a kill left half of it
    variant = series.variant(member)
    run = RunFolder.create(folder, series.job_of(member), member.name)
    changed = {"held_out": variant.held_out, "used": variant.used}
    settle(run, setup.model_copy(update=changed), series.starts, list(warnings))
    return run


def _line(path: Path) -> str:
    facts = RunFacts.read(path)
    metric = shown_metrics(facts.job)[0]
    return f"{facts.name}: {words(metric)} {facts.estimate(metric)}"
