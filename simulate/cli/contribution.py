"""`wardround contribution`: what each hospital brought to the model, from rehearsals with some of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

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


def contribution(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="JOB.toml", help="The job; not needed with --resume.")
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
    metric: Annotated[
        str | None, typer.Option(help="Of the validation patients. Default: the job's select_best, or loss.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeat it with this many seeds, from the job's own on.")
    ] = 1,
    method: Annotated[
        Literal["training", "gtg"],
        typer.Option(
            help="'gtg': one training for each seed; models of coalitions are put together from its updates."
        ),
    ] = "training",
    permutations: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Orders that are drawn. Default: all coalitions of 5 sites, else 20.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=0.5, help="An order ends within this share of what all bring.")
    ] = 0.01,
    out: Annotated[Path, typer.Option(help="Folder that holds the folders of such estimates.")] = Path(
        "runs"
    ),
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Go on: what was trained is not trained again.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Estimate what each hospital brought: models trained by some of them, judged by all."""
    if resume is None and job_file is None:
        raise typer.BadParameter("give a JOB.toml, or --resume FOLDER")
    from rich.console import Console

    from server.files import AGAIN, write_atomic
    from server.report.render import html
    from server.report.terminal import print_report
    from server.runs.folder import run_name
    from shared.files import Lock
    from shared.job.schema import load_job
    from simulate.contribution.estimate import contribution as contribution_of
    from simulate.contribution.game import Game
    from simulate.contribution.reconstructed import reconstructed
    from simulate.contribution.report import report_of
    from simulate.session.asked import Asked

    console = Console(stderr=json)
    if resume is not None:
        folder, asked = resume, Asked.read(resume)
    else:
        assert job_file is not None  # noqa: S101  (checked above)
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
        folder, asked = out / f"contribution-{run_name(job)}", Asked.of(job, hospitals, device or "auto")
        asked.write(folder)
    job = asked.spec()

    def tell(coalition: frozenset[str], seed: int, value: float) -> None:
        names = ", ".join(sorted(coalition)) or "nobody"
        console.print(f"seed {seed}: {names}: {value:.4g}", highlight=False, markup=False, soft_wrap=True)

    wanted = metric or job.evaluation.select_best or "loss"
    with Lock(folder, wait=False):
        game = Game(folder, job, wanted, asked.hospitals(), workers=workers, device=asked.device, tell=tell)
        estimate = reconstructed if method == "gtg" else contribution_of
        found = estimate(
            job.job.name, game, [job.job.seed + at for at in range(seeds)], permutations, tolerance
        )
        report = report_of(found)
        write_atomic(folder / "contribution.html", html(report).encode(), AGAIN)
    print_report(console, report)
    console.print(f"Report: {folder / 'contribution.html'}", soft_wrap=True, highlight=False)
    console.print(f"Folder: {folder}", soft_wrap=True, highlight=False)
    if json:
        answer(json, folder=folder, **asdict(found))
