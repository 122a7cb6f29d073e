"""A bulk export of FHIR R4 (NDJSON) as tables, of which the hospital's query asks as of a database.

What it is made of: https://hl7.org/fhir/R4/patient.html, condition.html, observation.html, imagingstudy.html;
of an export: https://hl7.org/fhir/uv/bulkdata/export.html.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from client.health_records.cells import Found
from client.health_records.settings import CohortTable
from client.health_records.sqlite import answer_of
from shared.errors import DataError

_LONGEST = 2**24  # characters of a line
_UID, _ACCESSION = "urn:dicom:uid", "ACSN"
_NEVER_WAS = {"entered-in-error", "cancelled", "refuted"}  # what a query must not count as having been so
_SCHEMA = """
CREATE TABLE exported (type TEXT, id TEXT, digest BLOB, PRIMARY KEY (type, id));
CREATE TABLE patient (id TEXT PRIMARY KEY, gender TEXT, birth_date TEXT, deceased INTEGER);
CREATE TABLE identifier (patient TEXT, system TEXT, type TEXT, value TEXT);
CREATE TABLE condition (patient TEXT, system TEXT, code TEXT, text TEXT, onset TEXT);
CREATE TABLE observation (patient TEXT, system TEXT, code TEXT, value TEXT, unit TEXT, effective TEXT);
CREATE TABLE imaging_study (patient TEXT, accession_number TEXT, study_uid TEXT, modality TEXT, started TEXT);
"""
_INDEXES = "".join(
    f"CREATE INDEX {name}_of ON {name} (patient{more});"
    for name, more in {"identifier": "", "condition": ", code", "observation": ", code"}.items()
)
Resource = dict[str, Any]
Rows = Iterator[tuple[str, tuple[object, ...]]]
"""Tables, and rows of them."""


def rows_of(table: CohortTable, folder: Path, query: str) -> Found:
    """Return the columns and rows of a query of an export.

    Args:
        table: Of the settings.
        folder: With files `*.ndjson`; resources of other types are left out.
        query: Of the tables patient, identifier, condition, observation, imaging_study.

    Raises:
        DataError: The export or the query can't be used, or it takes too long.
    """
    files = sorted(folder.glob("*.ndjson"))
    if not files:
        raise DataError("has no files *.ndjson", where=folder, remedy="It is the folder of a bulk export.")
    with closing(sqlite3.connect("")) as db:  # on the disk where it is large, and gone when closed
        db.executescript(_SCHEMA)
        for file in files:
            for number, line in _lines(file):
                _add(db, line, f"{file}, line {number}")
        db.executescript(_INDEXES)
        return answer_of(table, db, query)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8") as lines:
            number = 0
            while line := lines.readline(_LONGEST):
                number += 1
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=file) from None
    except UnicodeDecodeError:
        raise DataError("is not in UTF-8", where=file) from None


def _add(db: sqlite3.Connection, line: str, where: str) -> None:
    try:
        resource = json.loads(line)
        own = _ROWS.get(resource["resourceType"], _nothing)
        if own is _nothing or _never_was(resource) or not _is_new(db, resource, line, where):
            return
        for name, row in own(resource):
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO {name} VALUES ({marks})", row)  # noqa: S608 (names of this file)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, sqlite3.Error):
        raise DataError("is not a resource of FHIR R4", where=where) from None


def _is_new(db: sqlite3.Connection, resource: Resource, line: str, where: str) -> bool:
    """Say whether a resource has not come yet.

    Raises:
        DataError: Another version of it has: which of them holds is not known.
    """
    kind, own = resource["resourceType"], resource.get("id")
    if own is None:
        return True
    digest = sha256(line.strip().encode()).digest()
    known = db.execute("SELECT digest FROM exported WHERE type = ? AND id = ?", (kind, own)).fetchone()
    if known is None:
        db.execute("INSERT INTO exported VALUES (?, ?, ?)", (kind, own, digest))
    elif known[0] != digest:
        raise DataError(
            f"is another version of {kind}/{own}, which came before",
            where=where,
            remedy="Leave one export in the folder: the latest whole one.",
        )
    return known is None


def _never_was(resource: Resource) -> bool:
    """Say whether a resource was taken back: a mistake, or a diagnosis that was ruled out."""
    said = {code for _, code in _codings(resource.get("verificationStatus", {}))}
    return bool({resource.get("status"), *said} & _NEVER_WAS)


def _nothing(_: Resource) -> Rows:
    yield from ()


def _patient(found: Resource) -> Rows:
    deceased = found.get("deceasedBoolean", "deceasedDateTime" in found)
    yield "patient", (found["id"], found.get("gender"), found.get("birthDate"), int(bool(deceased)))
    for one in found.get("identifier", ()):
        yield "identifier", (found["id"], one.get("system"), _type(one), one.get("value"))


def _condition(found: Resource) -> Rows:
    patient, onset = _patient_of(found), found.get("onsetDateTime") or found.get("recordedDate")
    concept = found.get("code", {})
    for system, code in _codings(concept):
        yield "condition", (patient, system, code, concept.get("text"), onset)


def _observation(found: Resource) -> Rows:
    patient, effective = _patient_of(found), found.get("effectiveDateTime")
    for part in (found, *found.get("component", ())):
        value, unit = _value(part)
        for system, code in _codings(part.get("code", {})):
            if value is not None:
                yield "observation", (patient, system, code, value, unit, effective)


def _imaging_study(found: Resource) -> Rows:
    identifiers = found.get("identifier", ())
    uids = (one.get("value") for one in identifiers if one.get("system") == _UID)
    accessions = (one.get("value") for one in identifiers if _type(one) == _ACCESSION)
    uid = next(uids, None)
    modalities = sorted({coding.get("code", "") for coding in found.get("modality", ())})
    yield (
        "imaging_study",
        (
            _patient_of(found),
            next(accessions, None),
            uid and uid.removeprefix("urn:oid:"),
            "/".join(modalities),
            found.get("started"),
        ),
    )


_ROWS: dict[str, Callable[[Resource], Rows]] = {
    "Patient": _patient,
    "Condition": _condition,
    "Observation": _observation,
    "ImagingStudy": _imaging_study,
}


def _patient_of(found: Resource) -> str | None:
    """Return the id of the patient that a resource is about; None where it is about nobody."""
    reference = found.get("subject", {}).get("reference", "")
    whole: str = reference.removeprefix("urn:uuid:").partition("/_history/")[0]
    kind, _, name = whole.rpartition("/")
    return name if name and kind.rpartition("/")[2] in ("", "Patient") else None


def _codings(concept: Resource) -> list[tuple[str | None, str | None]]:
    return [(coding.get("system"), coding.get("code")) for coding in concept.get("coding", ())] or [
        (None, None)
    ]


def _type(identifier: Resource) -> str | None:
    return next((code for _, code in _codings(identifier.get("type", {}))), None)


def _value(part: Resource) -> tuple[object, str | None]:
    """Return the value of an observation, and its unit."""
    if (quantity := part.get("valueQuantity")) is not None:
        unit = quantity.get("code") or quantity.get("unit")
        if "comparator" in quantity:  # less than it, say: no number
            return f"{quantity['comparator']}{quantity.get('value')}", unit
        return quantity.get("value"), unit
    if (concept := part.get("valueCodeableConcept")) is not None:
        return next((code for _, code in _codings(concept) if code), concept.get("text")), None
    if (flag := part.get("valueBoolean")) is not None:
        return str(flag).lower(), None
    return part.get("valueString", part.get("valueInteger")), None
