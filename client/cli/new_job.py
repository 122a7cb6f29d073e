"""`wardround job new`: a job to begin with; what it says of data, only a side that has data can read."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.cli.answer import Json, answer
from shared.cli.app import task_names
from shared.errors import JobError


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the job, in lower case: chest-x-ray.", show_default=False)
    ],
    task: Annotated[
        str,
        typer.Option(
            help="What the model learns, one of: {tasks}.", show_default=False, autocompletion=task_names
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, or its folder: sizes, channels and classes are read from it.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Literal["cpu", "gpu"] | None,
        typer.Option(
            help="Plan the training of a segmentation for such machines: spacing, patch, network, batch.",
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
    out = out or Path(f"{name}.toml")
    if plan is not None and data is None:
        raise JobError("--plan: needs data to plan for", remedy="Name them with --data.")
    if data is None:
        from shared.job.template import write_job

        answer(json, str(write_job(name, task, out)), file=out)
        return
    from client.data.suggested_job import write_job_of

    write_job_of(data, name, task, out, plan)
    answer(json, [str(out), f"Then: {_simulate(out, data)}"], file=out)


def _simulate(job: Path, data: Path) -> str:
    """Return the command that trains a job on data, which are cut into hospitals if they name none."""
    from client.data.manifest.csv_files import read_table
    from client.data.manifest.rows import manifest_path

    words = ["wardround", "simulate", str(job), "--data", str(data)]
    has_sites = "site" in read_table(manifest_path(data))[0]
    return shlex.join(words if has_sites else [*words, "--sites", "3", "--partition", "iid"])
