"""The hospital's own query, asked of its database."""

import hashlib

from client.health_records import fhir, sqlite
from client.health_records.cells import Answer
from client.health_records.settings import CohortTable
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
    query = query_of(table)
    if table.file is not None:
        columns, rows = sqlite.rows_of(table, table.file, query)
    elif table.export is not None:
        columns, rows = fhir.rows_of(table, table.export, query)
    else:
        try:
            from client.health_records import postgres  # noqa: PLC0415 (needs an extra)
        except ModuleNotFoundError:
            raise DataError(
                "a PostgreSQL database needs pg8000", remedy="pip install 'wardround[postgres]'"
            ) from None
        columns, rows = postgres.rows_of(table, query)
    return Answer.of(columns, rows, table.query)
