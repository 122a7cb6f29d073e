"""`wardround retrieve`: images of an archive that are like others."""

from pathlib import Path
from typing import Annotated

import typer

from client.cli.asking_a_model import Device, end_with, plain_lines
from shared.cli.answer import Json, answer
from shared.cli.run_options import Model, Run


def retrieve(
    run: Run,
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
    model: Model = "best",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find images of your own archive that are like others, by a model's features; nothing leaves."""
    from rich.console import Console

    from shared.loading import loading

    with loading():
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
        say=plain_lines(console),
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
    end_with(told.problems)
