"""`wardround predict`: a finished run's model on images."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shared.cli.answer import Json, answer

_MOST = 20  # problems that are named before "and so many more"


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder for what is predicted.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, its folder, an image, or a folder or archive of images or DICOM studies.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Literal["best", "last"], typer.Option(help="The model that was tested, or that of the last round.")
    ] = "best",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    explain: Annotated[
        list[str] | None,
        typer.Option(
            help="Also show why: grad-cam, integrated-gradients, smooth-gradient, occlusion, shap, lime or "
            "attention; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(help="The class that is explained. Default: what is predicted.", show_default=False),
    ] = None,
    usual: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images of your own, to say how unusual others are. Default: the run's test, if "
            "its job asked for feature_moments.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            help="Write more: dicom-seg (masks), dicom-sr (sizes, boxes, scores) and dicom-sc (overlays) of "
            "images that are DICOM; fhir; json. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Send what is written as DICOM to an archive: the URL of its DICOMweb, or pacs.toml.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write scores, masks, boxes and a page for each image; exit code 2 if one could not be used."""
    from shared.run_folder import RunRecord

    RunRecord.read(run)  # before the seconds that PyTorch takes
    from rich.console import Console

    from client.pacs.archive_settings import archive
    from client.pacs.stow import Store
    from client.predict.run_model import predict_with
    from shared.text.plural import many

    console = Console(stderr=json)
    told = predict_with(
        run,
        data,
        out,
        which=model,
        device=device,
        explain=explain or (),
        of=of,
        usual=usual,
        formats=formats or (),
        archive=None if store is None else Store.of(archive(store)),
        say=lambda line: console.print(line, soft_wrap=True, highlight=False, markup=False),
        track=lambda said, rows: _tracked(said, rows, console),
    )
    if told.drawn is not None:
        answer(json, f"{many(told.drawn, 'image')} drawn: {told.page}", page=told.page, drawn=told.drawn)
        return
    said = f"{many(told.predicted, 'row')} predicted: {told.page}"
    keys = {"page": told.page, "predicted": told.predicted, "problems": len(told.problems)}
    if store is not None:
        said, keys = f"{said}\n{many(told.stored, 'object')} stored", {**keys, "stored": told.stored}
    answer(json, said, **keys)
    if told.problems:
        name_problems(told.problems)
        raise typer.Exit(2)


def _tracked(items: Iterable[Any], count: int, console: Any) -> Iterable[Any]:
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, "Predicting", total=count, console=console, transient=True)


def name_problems(problems: Sequence[Any]) -> None:
    """Print what was wrong, to the error output."""
    from shared.text.plural import many
    from shared.text.printable import printable_lines

    for problem in problems[:_MOST]:
        print(f"error: {printable_lines(problem)}", file=sys.stderr)
    left = len(problems) - _MOST
    if left > 0:
        print(f"error: {left} more; all are on the page", file=sys.stderr)
    print(f"error: {many(len(problems), 'row')} could not be used", file=sys.stderr)
