"""`wardround retrieve`: images of an archive that are like others."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from client.cli.predict import name_problems
from shared.cli.answer import Json, answer


def retrieve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    archive: Annotated[
        Path,
        typer.Option(help="What is searched: a manifest, its folder, or images.", show_default=False),
    ],
    query: Annotated[
        Path,
        typer.Option(help="What is searched for: the same; it may be the archive.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for what is found.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, max=1000, help="Images found for each query.")] = 10,
    model: Annotated[
        Literal["best", "last"], typer.Option(help="The model that was tested, or that of the last round.")
    ] = "best",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    json: Json = False,
) -> None:
    """Find images of your own archive that are like others, by a model's features; nothing leaves."""
    from shared.run_folder import RunRecord

    RunRecord.read(run)  # before the seconds that PyTorch takes
    from rich.console import Console

    from client.retrieve.run import retrieve_with
    from client.retrieve.write import as_json

    console = Console(stderr=json)
    told = retrieve_with(
        run,
        archive,
        query,
        out,
        count=count,
        which=model,
        device=device,
        say=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False),
    )
    answer(
        json,
        str(told.page),
        page=told.page,
        queries=told.queries,
        archive=told.archive,
        goodness=as_json(told.goodness),
        problems=len(told.problems),
    )
    if told.problems:
        name_problems(told.problems)
        raise typer.Exit(2)
