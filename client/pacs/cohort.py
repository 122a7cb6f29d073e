"""From what the hospital's records answer to the list of an import: studies, and what stands beside them."""

from collections import defaultdict
from pathlib import Path

from pydantic import ValidationError

from client.dicom_import.manifest import csv_bytes
from client.dicom_import.pseudonyms import Pseudonyms
from client.dicom_import.rules import Rules
from client.health_records.cells import Answer
from client.pacs.wanted import KEYWORDS
from shared.errors import DataError
from shared.files import replace_file
from shared.job.errors import describe

LIST, PATIENT = "cohort.csv", "patient_id"


def dataset_folder(manifest: Path) -> Path:
    """Return the folder that an import makes, from where `site.toml` says that the manifest lies.

    Raises:
        DataError: It is a file of another name, which no import writes.
    """
    if manifest.name == "manifest.csv":
        return manifest.parent
    if manifest.suffix == ".csv":
        raise DataError(
            "an import writes manifest.csv",
            where=manifest,
            remedy="Name the folder as manifest in site.toml.",
        )
    return manifest


def with_table(rules: Rules, answer: Answer, where: Path) -> Rules:
    """Return the rules with the `[table]` that follows from an answer; a table of their own stays.

    Args:
        rules: Of the import.
        answer: Of the records. All its columns but those that find studies stand beside the images.
        where: The query.

    Raises:
        DataError: The answer finds no studies, or a column can't stand in a dataset.
    """
    if rules.table is not None:
        return rules
    by = next((name for name in KEYWORDS if name in answer.columns), None)
    if by is None:
        raise DataError(
            f"gives none of the columns {', '.join(KEYWORDS)}",
            where=where,
            remedy="Name the one that finds the studies with AS.",
        )
    beside = [name for name in answer.columns if name not in KEYWORDS]  # none: it says which images alone
    try:
        return Rules.model_validate({**dict(rules), "table": {"by": by, "columns": beside}})
    except ValidationError as error:
        raise DataError(describe(error, Rules), where=where) from None


def write_list(path: Path, answer: Answer) -> None:
    """Write an answer as a CSV that this user alone can read.

    Raises:
        DataError: It can't be written.
    """
    try:
        replace_file(path, csv_bytes([answer.columns, *answer.rows]))
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=path) from None


def patients_of(answer: Answer, names: Pseudonyms, where: Path) -> dict[str, dict[str, set[str]]]:
    """Return what the rows of each patient have in each column, under the names that they have in datasets.

    Args:
        answer: Of the records.
        names: The hospital's pseudonyms.
        where: The query.

    Raises:
        DataError: The answer does not say whose a row is.
    """
    if PATIENT not in answer.columns:
        raise DataError(
            f"gives no column {PATIENT}, so patients can't be counted",
            where=where,
            remedy=f"Let it give the PatientID that the images have: ... AS {PATIENT}.",
        )
    place, found = answer.columns.index(PATIENT), defaultdict[str, dict[str, set[str]]](dict)
    for row in answer.rows:
        if not row[place]:
            raise DataError(f"gives a row without a {PATIENT}", where=where)
        of_patient = found[names.patient(row[place])]
        for column, text in zip(answer.columns, row, strict=True):
            if column not in KEYWORDS:
                of_patient.setdefault(column, set()).add(text)
    return dict(found)
