"""A query of a DuckDB file, which can change nothing and open no other file."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from client.health_records.cells import Found, Rows, too_long
from client.health_records.settings import CohortTable
from shared.errors import DataError

_AT_ONCE = 1_000  # rows
_MEMORY = "1GB"
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,  # no other file, no network, no extension
    "python_enable_replacements": False,  # a table is never a variable of this program
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,  # and the query can change none of it
    "memory_limit": _MEMORY,
    "threads": 1,
}


def rows_of(table: CohortTable, file: Path, query: str) -> Found:
    """Return the columns and rows of a query of a file.

    Raises:
        DataError: The file or the query can't be used, or it takes too long.
    """
    if not file.is_file():
        raise DataError("is missing", where=file, remedy="database of [datasets.NAME.cohort] names it.")
    try:
        connection = duckdb.connect(str(file), read_only=True, config=_CLOSED)
    except duckdb.Error as error:
        raise DataError(f"can't be opened by DuckDB: {_first_line(error)}", where=file) from None
    with closing(connection), _given_up(connection, table.seconds) as late:
        try:
            _require_query(connection.extract_statements(query), table.query)
            connection.execute(query)
            found = Rows(table.query)
            while rows := connection.fetchmany(_AT_ONCE):
                found.add(rows)
                if late():
                    raise too_long(table)
        except duckdb.Error as error:
            if late():
                raise too_long(table) from None
            problem = f"is refused by the database: {_first_line(error)}"
            raise DataError(problem, where=table.query) from None
        return tuple(name for name, *_ in connection.description or ()), iter(found.rows)


def _require_query(statements: list[duckdb.Statement], where: Path) -> None:
    """Check that there is one statement, and that it asks."""
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError("is not a single query that gives rows (SELECT)", where=where)


@contextmanager
def _given_up(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[Callable[[], bool]]:
    """Interrupt what takes too long; gives whether that was done."""
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        connection.interrupt()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield is_late.is_set
    finally:
        timer.cancel()
        timer.join()


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
