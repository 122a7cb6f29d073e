"""`wardround data example`: a small synthetic dataset to try everything with, made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer

EXAMPLES = {
    "phantom-brain": "segmentation: slices of heads, four hospitals; for configs/jobs/quickstart.toml",
    "phantom-brain-3d": "segmentation: volumes of heads, NIfTI",
    "phantom-sequences": "synthesis, restoration: slices of heads before and after contrast, and FLAIR",
    "phantom-lesions": "classification, generation: photographs of skin",
    "phantom-nodules": "detection: slices with boxes",
    "phantom-nodules-3d": "detection: volumes with boxes, NIfTI; for configs/jobs/phantom-nodules-3d.toml",
    "phantom-cells": "instances: pictures of cells; for configs/jobs/phantom-cells.toml",
    "phantom-burden": "regression, classification: pictures, a number and a class; for phantom-burden.toml",
    "phantom-records": "classification: pictures beside a table; for configs/jobs/phantom-records.toml",
    "phantom-pairs": "registration: heads and the same deformed; for configs/jobs/phantom-register.toml",
    "phantom-turned": "registration: the same, turned too; for configs/jobs/phantom-align.toml",
    "phantom-pairs-3d": "registration: volumes of heads and the same deformed, NIfTI",
    "phantom-survival": "survival: a table; for configs/jobs/phantom-survival.toml",
    "phantom-survival-images": "survival: a table and images",
    "phantom-slides": "classification of bags: whole slides; for configs/jobs/phantom-slides.toml",
    "phantom-cine": "classification of series: beating hearts; for configs/jobs/phantom-cine.toml",
    "phantom-rhythm": "classification of series: electrocardiograms; for configs/jobs/phantom-rhythm.toml",
    "phantom-views": "classification of several views; for configs/jobs/phantom-views.toml",
    "phantom-kspace": "reconstruction: k-space of heads; for configs/jobs/phantom-kspace.toml",
}


def example(
    name: Annotated[
        str | None,
        typer.Argument(
            help=f"One of: {', '.join(EXAMPLES)}; without it they are listed.",
            autocompletion=lambda: list(EXAMPLES),
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to make it in, by its name.")] = Path("examples"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other patients.")] = 1,
    json: Json = False,
) -> None:
    """Make a synthetic dataset of several hospitals, with a site.toml for each; nothing is downloaded."""
    if name is None:
        answer(json, [f"{known:<24} {what}" for known, what in EXAMPLES.items()], examples=EXAMPLES)
        return
    from simulate.data.example import write_example

    made = write_example(name, out / name, seed)
    said = [f"{made.manifest}", *(f"{site}" for site in made.sites)]
    answer(json, said, manifest=made.manifest, sites=made.sites)
