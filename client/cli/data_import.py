"""`wardround data import`: heaps of DICOM become a dataset."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.cli.answer import Json, answer
from shared.text.plural import many

if TYPE_CHECKING:
    from client.dicom_import.place import How
    from client.dicom_import.report import Report
    from client.dicom_import.run import Import

Rules = Annotated[
    Path | None,
    typer.Option(help="TOML with the series that are wanted; without it each series of images is a row."),
]
Key = Annotated[
    Path | None,
    typer.Option(
        help="The hospital's key of pseudonyms; made if missing. Default: pseudonym.key beside --out."
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(help="A CSV of the hospital with labels and the like; see [table] in the rules."),
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the files, where links to them would do.")]
Deidentify = Annotated[
    bool,
    typer.Option("--deidentify", help="Copy without what identifies: DICOM PS3.15, basic profile."),
]
AllowBurnedIn = Annotated[
    bool,
    typer.Option(
        "--allow-burned-in", help="With --deidentify: also where names may be burned into the pixels."
    ),
]
Processes = Annotated[
    int | None, typer.Option(min=1, max=64, help="That read headers; one for each core, eight at most.")
]


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Folders, files and archives (zip, tar) of DICOM."),
    ],
    out: Annotated[Path, typer.Option(help="The dataset's folder: a new one, or one to go on with.")],
    rules: Rules = None,
    table: Table = None,
    key: Key = None,
    copy: Copy = False,
    deidentify: Deidentify = False,
    allow_burned_in: AllowBurnedIn = False,
    processes: Processes = None,
    json: Json = False,
) -> None:
    """Make a dataset of a heap of DICOM: under pseudonyms, one row per series, study or patient.

    It goes on where it was stopped, adds what is new since, and writes nothing where the images are.
    """
    from client.dicom_import.rules import load_rules
    from client.dicom_import.run import Import

    how = how_of(copy, deidentify)
    own = key or default_key(out)
    asked = Import(sources, out, load_rules(rules), own, table, how, allow_burned_in, processes or cores())
    lines, keys, rows = import_said(asked)
    answer(json, lines, **keys)
    if not rows:
        raise typer.Exit(2)


def import_said(asked: "Import") -> tuple[list[str], dict[str, Any], int]:
    """Run an import with bars; return what people are told, the keys of `--json`, and the number of rows."""
    from client.cli.progress_bar import bars
    from client.dicom_import.deidentify import PROFILE
    from client.dicom_import.run import run_import

    with bars() as progress:
        report = run_import(asked, progress)
    profile = PROFILE if asked.how == "deidentify" else None
    told = {
        "profile": profile,
        "dataset": asked.out,
        "records": asked.records,
        "key": asked.key,
        "columns": asked.rules.columns,
    }
    return list(_said(asked, report)), {**told, **report.told()}, report.used["rows"]


def default_key(out: Path) -> Path:
    """Return where the key of pseudonyms lies if the user names no place: beside the dataset, not in it."""
    return out.parent / "pseudonym.key"


def how_of(copy: bool, deidentify: bool) -> "How":
    """Return what becomes of the files."""
    return "deidentify" if deidentify else "copy" if copy else "link"


def cores() -> int:
    """Return how many processes read headers if the user does not say."""
    import os

    return min(8, os.cpu_count() or 1)


def _said(asked: "Import", report: "Report") -> Iterator[str]:
    used, images = report.used, (f"--image={name}" for name in asked.rules.columns)
    yield str(asked.out / "manifest.csv")
    yield (
        f"{many(used['rows'], 'row')} of {many(used['patients'], 'patient')}: "
        f"{used['series']} series, {many(used['files'], 'file')}"
    )
    if asked.how == "deidentify":
        from client.dicom_import.deidentify import PROFILE

        yield f"de-identified by {PROFILE}"
    yield from report.lines()
    yield f"For the hospital alone: {asked.records} (what was left out, who is who)"
    yield f"Its key of pseudonyms, to keep a copy of: {asked.key}"
    yield f"Then: {shlex.join(['wardround', 'data', 'check', str(asked.out), *images])}"
