"""`wardround describe`: what data the hospitals have, and how they differ, before anybody trains."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer
from simulate.cli.options import (
    Data,
    Device,
    JobFile,
    Out,
    Partition,
    ScannerShift,
    Seed,
    Set,
    Site,
    Sites,
    Test,
    Validation,
    WorkersOption,
    command,
    hospitals_of,
    overrides_of,
)


def describe(
    job_file: JobFile,
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
    out: Out = Path("runs"),
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Write the job that asks real hospitals the same, for `wardround submit`, and stop.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Describe the training data of all hospitals: sums over patients, and how the hospitals differ."""
    from shared.describing_job import describing_job, write_describing_job
    from shared.job.schema import load_job

    job = load_job(job_file, overrides_of(set_, seed))
    if write is not None:
        written = write_describing_job(job, write)
        said = [f"{write}: written", f"Ask the hospitals: wardround submit {write}"]
        answer(json, said, file=write, digest=written.digest())
        return
    from rich.console import Console

    from client.cli.progress_bar import tracked
    from server.report.described import as_json
    from simulate.session.session import execute, start

    console = Console(stderr=json)
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
    asked = describing_job(job)
    run = start(
        asked,
        hospitals,
        out,
        device or "cpu",
        baselines=False,
        track=lambda rows: tracked(rows, console, "Checking the data"),
    )
    run.describe(command=command())
    execute(run, workers, console)
    if json:
        answer(json, run=run.path, **as_json(asked, run.read_description()))
