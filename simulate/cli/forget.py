"""`wardround forget`: a rehearsed run without a hospital, or without some of its patients."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.cli.answer import Json, answer
from shared.cli.run_options import Run
from simulate.cli.options import Out, WorkersOption


def forget(
    run: Run,
    site: Annotated[str, typer.Option(help="The hospital that withdraws, or whose patients do.")],
    patient: Annotated[
        list[str] | None,
        typer.Option(help="A patient of it who withdraws; repeat it. Default: all of the hospital."),
    ] = None,
    method: Annotated[
        Literal["exact", "both"], typer.Option(help="'both': also FedEraser's approximation, for a hospital.")
    ] = "both",
    calibration: Annotated[
        float, typer.Option(min=0.01, max=1, help="FedEraser: share of the steps of a round.")
    ] = 0.5,
    shadows: Annotated[
        int, typer.Option(min=0, help="Shadow models of the attack on each model; 0: no attack.")
    ] = 8,
    workers: WorkersOption = None,
    out: Out = Path("runs"),
    json: Json = False,
) -> None:
    """Repeat a rehearsed run without a hospital or patients, and attack the models with who is forgotten."""
    from rich.console import Console

    from server.files import AGAIN, write_atomic
    from server.report.render import html
    from server.report.terminal import print_report
    from shared.run_folder import RunRecord
    from simulate.forgetting.attack import attacked
    from simulate.forgetting.repeat import erased, why_not_erased, without_patients, without_site
    from simulate.forgetting.report import report_of
    from simulate.session.session import carry_out

    console, record = Console(stderr=json), RunRecord.read(run)
    patients = sorted(set(patient or []))
    exact = without_patients(record, site, patients, out) if patients else without_site(record, site, out)
    carry_out(exact, workers, Console(quiet=True))
    console.print("exact: repeated as if they had never been there", highlight=False)
    runs, notes = {"as it was": record.path, "exact": exact.path}, list[str]()
    reason = "FedEraser forgets whole hospitals" if patients else why_not_erased(record.job)
    if method == "both" and reason is None:
        runs["FedEraser"] = erased(record, site, out, calibration, workers).path
        console.print("FedEraser: calibrated", highlight=False)
    elif method == "both":
        notes.append(f"No approximation: {reason}.")
    audits = attacked(runs, site, shadows) if shadows and not patients else {}
    left = exact.read_description()["sites"]
    rest = sorted(name for name in left if name != site or patients)
    who = f"{len(patients)} of {site}" if patients else site
    report = report_of(runs, who, audits, rest, notes)
    page = exact.path / "forgetting.html"
    write_atomic(page, html(report).encode(), AGAIN)
    print_report(console, report)
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
    console.print(f"Run folder: {exact.path}", soft_wrap=True, highlight=False)
    if json:
        found = {name: audit.as_json() for name, audit in audits.items()}
        answer(json, site=site, runs=runs, attacks=found, notes=notes)
