"""A query of an SQLite file, which can change nothing and open no other file."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from client.health_records.settings import CohortTable
from shared.errors import DataError

_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


def rows_of(table: CohortTable, file: Path, query: str) -> tuple[tuple[str, ...], Iterator[Sequence[object]]]:
    """Return the columns and rows of a query.

    Raises:
        DataError: The file or the query can't be used, or it takes too long.
    """
    ends = time.monotonic() + table.seconds
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.set_authorizer(_allowed)
            db.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
            cursor = db.execute(query)
            if cursor.description is None:
                raise DataError("is no query that gives rows", where=table.query)
            return tuple(name for name, *_ in cursor.description), iter(cursor.fetchall())
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise DataError(
                f"took longer than {table.seconds} s, and was given up",
                where=table.query,
                remedy="seconds of [datasets.NAME.cohort] allows more.",
            ) from None
        raise _refusal(table, file, error) from None
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refusal(table, file, error) from None


def _allowed(action: int, *of_what: object) -> int:
    """Say whether a statement may do something: to read, and no more."""
    if action not in _ALLOWED or "load_extension" in of_what:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _refusal(table: CohortTable, file: Path, error: Exception) -> DataError:
    if not file.is_file():
        return DataError("is missing", where=file, remedy="database of [datasets.NAME.cohort] names it.")
    return DataError(f"is refused by the database: {error}", where=table.query)
