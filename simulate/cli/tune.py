"""`wardround tune`: settings of a job, chosen by rehearsals on validation patients alone."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer
from simulate.cli.options import (
    Data,
    Device,
    Partition,
    ScannerShift,
    Seed,
    Set,
    Site,
    Sites,
    Test,
    Validation,
    WorkersOption,
    hospitals_of,
    overrides_of,
)


def tune(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="JOB.toml", help="The job; not needed with --resume.")
    ] = None,
    space: Annotated[
        Path | None, typer.Argument(metavar="SPACE.toml", help="What varies (docs/tuning.md).")
    ] = None,
    data: Data = None,
    site: Site = None,
    sites: Sites = None,
    partition: Partition = None,
    scanner_shift: ScannerShift = False,
    test: Test = None,
    validation: Validation = None,
    workers: WorkersOption = None,
    device: Device = None,
    seed: Seed = None,
    set_: Set = None,
    federation: Annotated[
        bool,
        typer.Option(
            "--federation",
            help="Try on the hospitals of the coordinator of `wardround login`; they approve each trial.",
        ),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="The same with the coordinator's folder on this machine.", show_default=False
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Project of the runs there; your only one if not given.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the folders of tunings.")] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on with a tuning that was stopped.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Try settings of a job, in rehearsals or on real hospitals; no trial looks at the test patients."""
    if resume is None and (job_file is None or space is None):
        raise typer.BadParameter("give a JOB.toml and a SPACE.toml, or --resume FOLDER")
    from rich.console import Console

    from server.report.terminal import print_report
    from shared.files import Lock
    from shared.job.schema import load_job
    from simulate.tuning.folder import BEST, PAGE, Tuning
    from simulate.tuning.report import report_of
    from simulate.tuning.search import Search, Tried
    from simulate.tuning.trials import Place

    console = Console(stderr=json)
    if resume is not None:
        tuning = Tuning.open(resume)
    else:
        assert job_file is not None  # noqa: S101  (checked above)
        assert space is not None  # noqa: S101
        hospitals = hospitals_of(
            job_file,
            data=data,
            site=site,
            sites=sites,
            partition=partition,
            scanner_shift=scanner_shift,
            test=test,
            validation=validation,
        )
        job = load_job(job_file, overrides_of(set_, seed))
        place = None
        if federation or folder is not None or project is not None:
            if data or site or sites:
                raise typer.BadParameter(
                    "the hospitals are those of the coordinator: leave --data, --site and --sites out"
                )
            place = Place(folder=None if folder is None else folder.resolve(), project=project)
            place.control()
        tuning = Tuning.begin(out, job, space, hospitals, device or "auto", place=place)

    def tell(one: Tried) -> None:
        score = "no score" if one.score is None else f"{search.metric} {one.score:.4g}"
        reason = f" ({one.reason})" if one.reason else ""
        say(f"trial {one.number} of {tuning.space.tune.trials}: {score}, {one.state}{reason}")

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with Lock(tuning.folder, wait=False):
        search = Search(tuning.folder, tuning.job, tuning.space)
        search.go_on(tuning.trials(workers, say), tell)
        best = tuning.conclude(search)
    print_report(console, report_of(search))
    if best is not None:
        console.print(f"Best job: {tuning.folder / BEST}", soft_wrap=True, highlight=False)
        how = "simulate" if tuning.place is None else "submit"
        console.print(f"Test it once: wardround {how} with that file.", highlight=False)
    console.print(f"Report: {tuning.folder / PAGE}", soft_wrap=True, highlight=False)
    console.print(f"Folder: {tuning.folder}", soft_wrap=True, highlight=False)
    if json:
        trials = [vars(one) for one in search.tried()]
        answer(
            json, folder=tuning.folder, metric=search.metric, trials=trials, importance=search.importance()
        )
