"""`wardround data harmonise`: columns of a table brought to the scale of all hospitals."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer
from shared.text.plural import many

_SHOWN = 8  # columns


def harmonise(
    path: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds manifest.csv.")],
    job: Annotated[Path, typer.Option(help="The job; its [task] scaling is the scale of all hospitals.")],
    out: Annotated[Path, typer.Option(help="The new manifest.")],
    column: Annotated[
        list[str] | None, typer.Option(help="Column to change; every column of numbers, if none is named.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Take out what stands in this NAME.combat.json, of earlier patients."),
    ] = None,
    json: Json = False,
) -> None:
    """Take out of columns of numbers what is a hospital's own (ComBat), into a new manifest."""
    from client.data.manifest.harmonising import harmonise as harmonise_columns
    from shared.job.schema import load_job

    found = harmonise_columns(path, load_job(job), out, columns=column or (), like=like)
    lines = [str(found.path), f"{many(found.rows, 'row')}; what was taken out: {found.kept}"]
    for site, columns in found.shifts.sites.items():
        most = sorted(columns.items(), key=lambda one: -abs(one[1][0]))[:_SHOWN]
        said = [f"{name} {by:+.2f} (x {times:.2f})" for name, (by, times) in most]
        more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
        lines.append(f"{site}: {', '.join(said)}{more}")
    answer(
        json,
        lines,
        manifest=found.path,
        kept=found.kept,
        rows=found.rows,
        sites={
            site: {name: {"by": by, "times": times} for name, (by, times) in columns.items()}
            for site, columns in found.shifts.sites.items()
        },
    )
