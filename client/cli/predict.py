"""`wardround predict`: a finished run's model on images."""

from pathlib import Path
from typing import Annotated

import typer

from client.cli.asking_a_model import Device, end_with, plain_lines
from client.cli.folder import HERE, Logging
from shared.cli.answer import Json, answer
from shared.cli.run_options import Model, Run


def predict(
    run: Run,
    out: Annotated[Path, typer.Option(help="A new folder for what is predicted.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A manifest, its folder, an image, or a folder or archive of images or DICOM studies.",
            show_default=False,
        ),
    ] = None,
    model: Model = "best",
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RUN",
            help="Another finished run, whose model answers with it: by the mean of probabilities. Repeat it "
            "for several.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How many of the last rounds answer together, if the job kept them.")
    ] = 1,
    device: Device = "auto",
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
    site: Logging = HERE,
    json: Json = False,
) -> None:
    """Write scores, masks, boxes and a page for each image; exit code 2 if one could not be used."""
    from rich.console import Console

    from shared.loading import loading

    with loading():
        from client.cli.progress_bar import tracked
        from client.cli.site_log import stored_note
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
        together=others or (),
        rounds=rounds,
        device=device,
        explain=explain or (),
        of=of,
        usual=usual,
        formats=formats or (),
        archive=None if store is None else Store.of(archive(store), stored_note(site)),
        say=plain_lines(console),
        track=lambda rows, count: tracked(rows, console, "Predicting", count),
    )
    if told.drawn is not None:
        answer(json, f"{many(told.drawn, 'image')} drawn: {told.page}", page=told.page, drawn=told.drawn)
        return
    said = f"{many(told.predicted, 'row')} predicted: {told.page}"
    keys = {"page": told.page, "predicted": told.predicted, "problems": len(told.problems)}
    if store is not None:
        said, keys = f"{said}\n{many(told.stored, 'object')} stored", {**keys, "stored": told.stored}
    answer(json, said, **keys)
    end_with(told.problems)
