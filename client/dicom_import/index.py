"""What an import knows of the files that it found: an SQLite file beside the dataset, for the hospital alone.

It holds patients' numbers and is what an import goes on from. It lies outside of the dataset.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from client.dicom_import.headers import Header, text
from client.dicom_import.series import Series, SourceFile, shown
from shared.errors import DataError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
    number INTEGER PRIMARY KEY,
    archive BLOB NOT NULL,
    name BLOB NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    problem TEXT NOT NULL,
    patient TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    header TEXT NOT NULL,
    UNIQUE (archive, name)
);
CREATE INDEX IF NOT EXISTS by_patient ON file (patient, study, series, number) WHERE problem = '';
"""
UNSURE = -1
"""The time of change of a file whose problem may be gone at the next look."""


@dataclass(frozen=True)
class Entry:
    """A file that was looked at.

    Attributes:
        archive: The archive in which it lies; empty for a file of its own.
        modified: Nanoseconds since 1970, or `UNSURE`.
        header: Empty where there is a problem.
    """

    archive: str
    name: str
    size: int
    modified: int
    problem: str = ""
    header: Header | None = None


class Index:
    """One SQLite file; who imports holds the lock of its folder.

    Args:
        path: The file; made if missing.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path = path
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # so that it may lie on a network's disk
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: str) -> str | None:
        """Return what was remembered under a key."""
        with self._told():
            row = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Remember something, at once."""
        with self._told():
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    def knows(self, archive: str, name: str, size: int, modified: int) -> bool:
        """Say whether a file was looked at, and is as it was then."""
        with self._told():
            row = self._db.execute(
                "SELECT 1 FROM file WHERE archive = ? AND name = ? AND size = ? AND modified = ?",
                (os.fsencode(archive), os.fsencode(name), size, modified),
            ).fetchone()
        return row is not None

    def add(self, entries: Iterable[Entry]) -> None:
        """Remember files, all of these or none; one that has changed takes the place of what it was."""
        with self._told(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO file (archive, name, size, modified, problem, patient, study, series, header)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (archive, name) DO UPDATE SET"
                " size = excluded.size, modified = excluded.modified, problem = excluded.problem,"
                " patient = excluded.patient, study = excluded.study, series = excluded.series,"
                " header = excluded.header",
                map(_row, entries),
            )

    def forget(self, archive: str) -> None:
        """Forget the members of an archive that has changed."""
        with self._told():
            self._db.execute("DELETE FROM file WHERE archive = ?", (os.fsencode(archive),))

    def count(self) -> int:
        """Return how many files were looked at."""
        with self._told():
            return int(self._db.execute("SELECT COUNT(*) FROM file").fetchone()[0])

    def count_patients(self) -> int:
        """Return how many patients have files that can be used."""
        with self._told():
            return int(
                self._db.execute("SELECT COUNT(DISTINCT patient) FROM file WHERE problem = ''").fetchone()[0]
            )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Give each file that can't be used, as (where it lies, why)."""
        with self._told():
            rows = self._db.execute(
                "SELECT archive, name, problem FROM file WHERE problem <> '' ORDER BY number"
            )
            for archive, name, problem in rows:
                yield shown(os.fsdecode(archive), os.fsdecode(name)), problem

    def patients(self) -> Iterator[tuple[str, list[Series]]]:
        """Give each PatientID with all of its series, in the order of studies and series."""
        with self._told():
            rows = self._db.execute(
                "SELECT patient, study, series, number, archive, name, size, header FROM file"
                " WHERE problem = '' ORDER BY patient, study, series, number"
            )
            for patient, of_patient in groupby(rows, key=lambda row: row[0]):
                yield (
                    patient,
                    [
                        Series(uid, study, patient, [_file(row) for row in of_series])
                        for (study, uid), of_series in groupby(of_patient, key=lambda row: (row[1], row[2]))
                    ],
                )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(
                f"can't be used ({error})",
                where=self._path,
                remedy="Is the disk full? If the file is damaged, remove its folder and import again.",
            ) from None


def _row(entry: Entry) -> tuple[str | bytes | int, ...]:
    header: Mapping[str, str | list[str]] = entry.header or {}
    identity = (text(dict(header), name) for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    return (
        *(os.fsencode(entry.archive), os.fsencode(entry.name)),  # names need not be text
        *(entry.size, entry.modified, entry.problem),
        *(value.strip() for value in identity),
        json.dumps(header, separators=(",", ":")),
    )


def _file(row: tuple[Any, ...]) -> SourceFile:
    number, archive, name, size, header = row[3:8]
    return SourceFile(number, os.fsdecode(archive), os.fsdecode(name), size, json.loads(header))
