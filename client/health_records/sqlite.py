"""A query of an SQLite file, which can change nothing and open no other file."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from client.health_records.cells import Found, Rows, too_long
from client.health_records.settings import CohortTable
from shared.errors import DataError

_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_LONGEST = 2**20  # bytes of one value
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


def rows_of(table: CohortTable, file: Path, query: str) -> Found:
    """Return the columns and rows of a query of a file.

    Raises:
        DataError: The file or the query can't be used, or it takes too long.
    """
    if not file.is_file():
        raise DataError("is missing", where=file, remedy="database of [datasets.NAME.cohort] names it.")
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        return answer_of(table, db, query)


def answer_of(table: CohortTable, db: sqlite3.Connection, query: str) -> Found:
    """Return the columns and rows of a query of an open database, which from then on can only be read.

    Raises:
        DataError: The query can't be used, or it takes too long.
    """
    ends = time.monotonic() + table.seconds
    db.set_authorizer(_allowed)
    db.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    try:
        cursor, found = db.execute(query), Rows(table.query)
        found.add(cursor)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise DataError(f"is refused by the database: {error}", where=table.query) from None
        raise too_long(table) from None
    if cursor.description is None:
        raise DataError("is no query that gives rows", where=table.query)
    return tuple(name for name, *_ in cursor.description), iter(found.rows)


def _allowed(action: int, *of_what: object) -> int:
    """Say whether a statement may do something: to read, and no more."""
    if action not in _ALLOWED or "load_extension" in of_what:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
