"""`wardround data pull`: studies of an archive become a dataset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.data_import import (
    AllowBurnedIn,
    Copy,
    Deidentify,
    Key,
    Processes,
    Progressing,
    Rules,
    bars,
    cores,
    default_key,
    how_of,
    import_said,
)
from client.cli.enrol import HERE, Folder
from shared.cli.answer import Json, answer
from shared.text.plural import many

if TYPE_CHECKING:
    from client.dicom_import.run import Import
    from client.pacs.pull import Pulled
    from client.pacs.pull_settings import DimseTable, PullTable
    from client.pacs.source import Source


def pull(
    out: Annotated[Path, typer.Option(help="The dataset's folder: a new one, or one to go on with.")],
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

    sorting = load_rules(rules)
    table = wanted if sorting.table else None
    own = key or default_key(out)
    how = how_of(copy, deidentify)
    asked = Import([], out, sorting, own, table, how, allow_burned_in, processes or cores())
    with bars() as progress:
        pulled, asked = _pulled(asked, read_source(source), _queries(wanted, query, asked), folder, progress)
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


def _queries(wanted: Path | None, query: list[str] | None, asked: "Import") -> "list[tuple[str, Any]]":
    from client.pacs.wanted import of_query, of_table
    from shared.errors import DataError

    if (wanted is None) == (not query):
        raise DataError(
            "Give a list of studies, or --query", remedy="wardround data pull LIST.csv --from ..."
        )
    if wanted is None:
        return list(of_query(query or []))
    rule = asked.rules.table
    return list(of_table(wanted, rule.by if rule else None, rule.column if rule else None))


def _pulled(
    asked: "Import",
    table: "PullTable | DimseTable",
    queries: "list[tuple[str, Any]]",
    folder: Path,
    progress: Progressing,
) -> "tuple[Pulled, Import]":
    """Take what is wanted; return what came, and the import of it."""
    from dataclasses import replace

    from client.dicom_import.run import begun
    from client.guard.decisions import user_here
    from client.pacs.pull import Pull, Pulled

    log = _log(folder)
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


def _log(folder: Path) -> Any:
    from shared.audit.log import AuditLog
    from shared.errors import SiteError
    from shared.pki.key_file import KeyFile

    key = folder / "keys" / "site.key"
    if not key.exists():
        raise SiteError(
            "there is no site here, in whose audit log it would stand what is pulled",
            where=folder,
            remedy="Give the site's folder with --dir, or make one with `wardround client enrol`.",
        )
    return AuditLog.open(folder / "audit", KeyFile(key))


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
