"""`wardround client label`: which images to label next, and labels that somebody has given."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from client.cli.asking_a_model import Device, end_with
from shared.cli.answer import Json, answer
from shared.cli.app import App
from shared.cli.run_options import Model, Run
from shared.text.plural import many

label_app = App(help="Say which of your images to label next, and take labels back; nothing leaves.")


@label_app.command(name="list")
def list_(
    run: Run,
    data: Annotated[
        Path, typer.Option(help="A manifest, its folder, or a folder of images.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the list.", show_default=False)],
    by: Annotated[
        Literal["entropy", "bald", "core-set", "random"],
        typer.Option(
            help="What is asked first: what the model is unsure of, what its dropout disagrees "
            "about, what is unlike all that is labelled; or any."
        ),
    ] = "entropy",
    count: Annotated[int, typer.Option(min=1, max=9999, help="Images on the list.")] = 50,
    model: Model = "best",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """List the unlabelled images whose labels would teach a model most: a table, MONAI Label, 3D Slicer."""
    from rich.console import Console

    from client.cli.progress_bar import tracked
    from client.labelling.run import list_with

    console = Console(stderr=json)
    told = list_with(
        run,
        data,
        out,
        by=by,
        count=count,
        which=model,
        device=device,
        track=lambda rows, count: tracked(rows, console, "Looking", count),
    )
    said = [
        str(told.table),
        f"{told.listed} of {many(told.unlabelled, 'unlabelled row')}, by {by}; {told.labelled} have a label",
    ]
    if told.beside:
        said.append(f"copies of the images beside it, with {' and '.join(told.beside)}")
    answer(
        json,
        said,
        table=told.table,
        listed=told.listed,
        unlabelled=told.unlabelled,
        labelled=told.labelled,
        beside=list(told.beside),
        problems=len(told.problems),
    )
    end_with(told.problems)


@label_app.command()
def take(
    labels: Annotated[
        Path,
        typer.Argument(
            help="A list with its label column filled in, or a folder of masks.", show_default=False
        ),
    ],
    data: Annotated[Path, typer.Option(help="The manifest, or its folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new manifest.", show_default=False)],
    image: Annotated[str, typer.Option(help="Column of the manifest by which rows are found.")] = "image",
    json: Json = False,
) -> None:
    """Take labels into a copy of a manifest; no file is changed, and no label replaced."""
    from client.data.manifest.labels_back import take_labels

    taken = take_labels(data, labels, out, image=image)
    said = f"{taken.path}: {many(taken.labels, 'label')} taken; {many(taken.left, 'row')} without one"
    if taken.empty:
        said += f"; {many(taken.empty, 'row')} of the list not filled in"
    answer(
        json,
        said,
        manifest=taken.path,
        labels=taken.labels,
        same=taken.same,
        empty=taken.empty,
        left=taken.left,
    )
