"""`wardround drift`: a released model over time, by runs that judge it and runs that describe the data."""

from pathlib import Path
from typing import Annotated

import typer

from server.cli.report import Local, run_folder
from shared.cli.answer import Json, answer


def drift(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="The run that the model was released with, then runs that judge it or describe the data.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("drift.html"),
    local: Local = Path("runs"),
    json: Json = False,
) -> None:
    """Show a model's later tests beside its first, and how the data changed; ends with 2 if it is worse."""
    from rich.console import Console

    from server.report.drift import drift_of
    from server.report.terminal import print_report
    from server.report.write import write_html

    found = drift_of([run_folder(run, local) for run in runs])
    console = Console(stderr=json)
    print_report(console, found.report)
    console.print(f"Report: {write_html(found.report, out)}", soft_wrap=True, highlight=False)
    if json:
        answer(json, page=out, worse=found.worse, changed=found.changed)
    if any(found.worse.values()):
        raise typer.Exit(2)
