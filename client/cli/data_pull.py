"""`wardround data pull`: studies of an archive become a dataset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.data_import import (
    AllowBurnedIn,
    Copy,
    Deidentify,
    Key,
    Processes,
    Rules,
    cores,
    default_key,
    how_of,
    import_said,
)
from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.text.plural import many

if TYPE_CHECKING:
    from client.dicom_import.run import Import, Progress
    from client.pacs.pull import Pulled
    from client.pacs.pull_settings import DimseTable, PullTable
    from client.pacs.source import Source


def pull(
    source: Annotated[
        str,
        typer.Option("--from", metavar="PACS.toml", help="File with the table [pull], or a URL of DICOMweb."),
    ],
    wanted: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LIST.csv]", help="Table with a column accession_number, study_uid or patient_id."
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(help="Or a query, as StudyDate=20240101-20241231; repeat it for several keywords."),
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET", help="Or a dataset of site.toml, whose own query is asked of the records."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The dataset's folder: a new one, or one to go on with. With --cohort its own."),
    ] = None,
    rules: Rules = None,
    key: Key = None,
    copy: Copy = False,
    deidentify: Deidentify = False,
    allow_burned_in: AllowBurnedIn = False,
    processes: Processes = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Take studies out of a PACS and import them: from a list of accession numbers to a dataset.

    It goes on where it was stopped, and later takes what is new. Each study stands in the site's audit log.
    """
    from client.dicom_import.rules import load_rules
    from client.dicom_import.run import Import
    from client.pacs.pull_settings import read_source

    _require_one_way(wanted, query, cohort)
    out = out or _own_folder(cohort, folder)
    own, how = key or default_key(out), how_of(copy, deidentify)
    asked = Import([], out, load_rules(rules), own, wanted, how, allow_burned_in, processes or cores())
    archive = read_source(source)
    if cohort is not None:
        asked = _listed_by_records(cohort, folder, asked)
    queries = _queries(query, asked)
    if not asked.rules.table:
        asked = replace(asked, table=None)
    from client.cli.progress_bar import bars

    with bars() as progress:
        pulled, asked = _pulled(asked, archive, queries, folder, progress)
    lines, keys, rows = import_said(asked)
    said = {
        "studies": pulled.studies,
        "files": pulled.files,
        "bytes": pulled.bytes,
        "not": dict(pulled.skipped),
    }
    answer(json, [*_said(pulled), *lines], pulled=said, **keys)
    if not rows:
        raise typer.Exit(2)


def _require_one_way(wanted: Path | None, query: list[str] | None, cohort: str | None) -> None:
    from shared.errors import DataError

    if [wanted is not None, bool(query), cohort is not None].count(True) != 1:
        raise DataError(
            "Give a list of studies, or --query, or --cohort",
            remedy="wardround data pull LIST.csv --from ... --out ...",
        )


def _own_folder(cohort: str | None, folder: Path) -> Path:
    """Return where the dataset of a cohort lies."""
    from client.cli.data_ask import cohort_of
    from client.pacs.cohort import dataset_folder
    from shared.errors import DataError

    if cohort is None:
        raise DataError("--out: is missing", remedy="Name the dataset's folder: --out FOLDER")
    dataset, _ = cohort_of(folder, cohort)
    return dataset_folder(dataset.manifest)


def _listed_by_records(cohort: str, folder: Path, asked: "Import") -> "Import":
    """Ask the records which studies are wanted; return the import with their list, and its columns."""
    from client.cli.data_ask import asked_of_records, cohort_of
    from client.dicom_import.run import make_records
    from client.pacs.cohort import LIST, with_table, write_list

    make_records(asked)
    found = asked_of_records(folder, cohort)
    rules = with_table(asked.rules, found, cohort_of(folder, cohort)[1].query)
    write_list(asked.records / LIST, found)
    return replace(asked, rules=rules, table=asked.records / LIST)


def _queries(query: list[str] | None, asked: "Import") -> "list[tuple[str, Any]]":
    from client.pacs.wanted import of_query, of_table

    if asked.table is None:
        return list(of_query(query or []))
    rule = asked.rules.table
    return list(of_table(asked.table, rule.by if rule else None, rule.column if rule else None))


def _pulled(
    asked: "Import",
    table: "PullTable | DimseTable",
    queries: "list[tuple[str, Any]]",
    folder: Path,
    progress: "Progress",
) -> "tuple[Pulled, Import]":
    """Take what is wanted; return what came, and the import of it."""
    from client.cli.site_log import site_log
    from client.dicom_import.run import begun
    from client.guard.decisions import user_here
    from client.pacs.pull import Pull, Pulled

    log = site_log(folder)
    modalities = {rule.modality for rule in asked.rules.series.values()}
    coming = asked.records / ".coming"
    with begun(asked) as (_, names), _opened(table, coming) as archive:
        pull = Pull(
            archive,
            asked.records / "pulled",
            coming,
            names.digest,
            None if None in modalities else frozenset(str(one).upper() for one in modalities),
            lambda event, **fields: log.append(event, user=user_here(), **fields),
            _waiting(table),
        )
        pulled = Pulled()
        try:
            pull.run(queries, pulled, lambda: progress("Pulling studies", 1, len(queries)))
        finally:
            _write_problems(asked.records / "not-pulled.csv", pulled)
    return pulled, replace(asked, sources=[asked.records / "pulled"])


@contextmanager
def _opened(table: "PullTable | DimseTable", folder: Path) -> "Iterator[Source]":
    """Give the archive; what comes by DIMSE lies in the folder for a moment."""
    from client.pacs.pull_settings import Pace, PullTable

    rate = table.megabytes_per_second
    pace = Pace(rate and rate * 1e6)
    if isinstance(table, PullTable):
        from client.pacs.dicomweb import DicomWeb

        with table.open() as client:
            yield DicomWeb(client, table.url, table.minutes * 60, pace)
        return
    from shared.errors import DataError

    try:
        from client.pacs.dimse import Dimse
    except ModuleNotFoundError:
        raise DataError("[dimse] needs pynetdicom", remedy="pip install 'wardround[dimse]'") from None
    yield Dimse(table, folder, pace)


def _waiting(table: "PullTable | DimseTable") -> Callable[[], None]:
    import sys
    import time
    from datetime import datetime

    def wait() -> None:
        seconds = table.wait(datetime.now().astimezone())
        if seconds:
            print(f"waits for {table.hours}", file=sys.stderr, flush=True)
            time.sleep(seconds)

    return wait


def _write_problems(path: Path, pulled: "Pulled") -> None:
    from client.dicom_import.manifest import csv_bytes
    from shared.files import replace_file

    replace_file(path, csv_bytes([("which", "reason"), *pulled.problems]))


def _said(pulled: "Pulled") -> Iterator[str]:
    yield f"{many(pulled.studies, 'study', 'studies')} here, {many(pulled.files, 'file')} of them new"
    if pulled.skipped:
        yield f"{pulled.skipped.total()} did not come:"
        yield from (f"  {count:>7}  {reason}" for reason, count in pulled.skipped.most_common())
