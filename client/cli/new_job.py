"""`wardround job new`: a job to begin with; what it says of data, only a side that has data can read."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer
from shared.cli.app import task_names


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the job, in lower case: chest-x-ray.", show_default=False)
    ],
    task: Annotated[
        str, typer.Option(help="What the model learns, one of: {tasks}.", autocompletion=task_names)
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, or its folder: sizes, channels and classes are read from it.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; NAME.toml if not given.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write a commented job file to begin with, NAME.toml if not told otherwise; no file is overwritten.

    It may name one of these networks: {networks}; and one of these strategies: {strategies}.
    """
    if data is None:
        from shared.job.template import write_job

        written = write_job(name, task, out or Path(f"{name}.toml"))
    else:
        from client.data.suggested_job import write_job_of

        written = write_job_of(data, name, task, out or Path(f"{name}.toml"))
    answer(json, str(written), file=written)
