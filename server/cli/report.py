"""`wardround report`, `show` and `compare`: what came out of runs, as a page, a file or a table."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...", help="Folders of runs; several are shown side by side.", show_default=False
    ),
]
Local = Annotated[Path, typer.Option("--local", help="Folder in which a run's name is looked for.")]


def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; report.html in the run's folder if not given.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write each table as CSV into this folder.", show_default=False)
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="Write a model card: README.md for a model hub, with facts for clinicians."),
    ] = None,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave out the example images of a rehearsal.")
    ] = False,
    local: Local = Path("runs"),
    json: Json = False,
) -> None:
    """Write what came out of runs as one page; as CSV or a model card where asked; or print it as JSON."""
    folders = [run_folder(run, local) for run in runs]
    if card is not None and (len(folders) > 1 or not (folders[0] / "job.json").is_file()):
        raise typer.BadParameter("a card is of one run", param_hint="--card")
    if json:
        _answer(folders)
        return
    from server.report import write

    content = write.report_on(folders, images=not no_images)
    if csv is not None:
        for file in write.write_csv(content, csv):
            print(file)
    if card is not None:
        from server.report.card import write_card

        print(write_card(folders[0], card))
    if out is not None or (csv, card) == (None, None):
        print(write.write_html(content, out or write.page_of(folders)))


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its name.")],
    local: Local = Path("runs"),
    json: Json = False,
) -> None:
    """Show what came out of a run on this machine: its tables, its curves, what went wrong."""
    folder = run_folder(run, local)
    if json:
        _answer([folder])
        return
    from rich.console import Console

    from server.report.terminal import print_report, print_run
    from server.report.write import report_on
    from shared.series_folder import is_series

    if is_series(folder):
        print_report(Console(), report_on([folder]))
        return
    print_run(Console(), folder)


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run, or its name.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Of the run that it is compared with.")],
    local: Local = Path("runs"),
    json: Json = False,
) -> None:
    """Show by how much two runs differ on the test patients, and whether that may be chance."""
    folders = [run_folder(run, local) for run in (first, second)]
    if json:
        _answer(folders)
        return
    from rich.console import Console

    from server.report.terminal import print_report
    from server.report.write import report_on

    print_report(Console(), report_on(folders))


def _answer(folders: list[Path]) -> None:
    """Print what a report of the runs has in it, but for its images."""
    from server.report.write import report_on

    answer(True, report=report_on(folders, images=False).as_json())


def run_folder(run: Path, local: Path) -> Path:
    """Return the folder of a run or a series, given by its path or by its name below `local`.

    Raises:
        RunError: There is none: said before anything heavy is loaded.
    """
    from shared.errors import RunError
    from shared.series_folder import is_series

    for folder in (run, local / run):
        if (folder / "job.json").is_file() or is_series(folder):
            return folder
    raise RunError(
        "is not the folder of a run",
        where=run,
        remedy="`wardround runs --local FOLDER` lists those of a folder.",
    )
