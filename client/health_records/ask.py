"""The hospital's own query, asked of its database."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from client.health_records import fhir, sqlite
from client.health_records.cells import Answer
from client.health_records.settings import DUCKDB, FHIR, CohortTable
from shared.errors import DataError


def query_of(table: CohortTable) -> str:
    """Return the hospital's query.

    Raises:
        DataError: Its file can't be read.
    """
    try:
        return table.query.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=table.query) from None
    except UnicodeDecodeError:
        raise DataError("is not in UTF-8", where=table.query) from None


def digest_of(table: CohortTable) -> str:
    """Return the SHA-256 of the hospital's query.

    Raises:
        DataError: Its file can't be read.
    """
    return hashlib.sha256(query_of(table).encode()).hexdigest()


def ask(table: CohortTable) -> Answer:
    """Ask the database, which nothing is changed in.

    Raises:
        DataError: The database or the query can't be used, or its answer is no table.
    """
    query, path = query_of(table), table.path
    if path is None:
        with _extra("PostgreSQL", "postgres", "pg8000"):
            from client.health_records import postgres  # noqa: PLC0415
        columns, rows = postgres.rows_of(table, query)
    elif table.kind == DUCKDB:
        with _extra("DuckDB", "duckdb", "duckdb"):
            from client.health_records import duckdb  # noqa: PLC0415
        columns, rows = duckdb.rows_of(table, path, query)
    else:
        columns, rows = (fhir if table.kind == FHIR else sqlite).rows_of(table, path, query)
    return Answer.of(columns, rows, table.query)


@contextmanager
def _extra(database: str, extra: str, package: str) -> Iterator[None]:
    """Import what needs a package of an extra."""
    try:
        yield
    except ModuleNotFoundError:
        problem, remedy = f"a {database} database needs {package}", f"pip install 'wardround[{extra}]'"
        raise DataError(problem, remedy=remedy) from None
