"""A query of a PostgreSQL database, in a transaction that can change nothing."""

import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from pg8000.core import CoreConnection
from pg8000.exceptions import DatabaseError, InterfaceError

from client.health_records.cells import Rows
from client.health_records.settings import CohortTable
from shared.errors import DataError
from shared.secret_places import read_secret

_WHERE = "[datasets.NAME.cohort] database"
_AT_ONCE = 1_000  # rows
_CONNECT = 30.0  # seconds, at least
_CANCELLED = "57014"
_REVEALING = (3, 5)  # the password itself, and its MD5


def rows_of(table: CohortTable, query: str) -> tuple[tuple[str, ...], Iterator[Sequence[object]]]:
    """Return the columns and rows of a query.

    It is a cursor's, so it can be a query alone, and it is sent as one statement: no second one behind it.

    Raises:
        DataError: The database or the query can't be used, or it takes too long.
    """
    ends = time.monotonic() + table.seconds
    try:
        with closing(_connection(table)) as connection:
            connection.execute_unnamed("BEGIN READ ONLY")
            connection.execute_unnamed(f"DECLARE cohort NO SCROLL CURSOR FOR\n{query}")
            columns, rows = (), Rows(table.query)
            while True:
                found = connection.execute_unnamed(f"FETCH {_AT_ONCE} FROM cohort")
                columns = tuple(column["name"] for column in found.columns)
                rows.add(found.rows)
                if len(found.rows) < _AT_ONCE:
                    return columns, iter(rows.rows)
                if time.monotonic() > ends:
                    raise _too_long(table)
    except DatabaseError as error:
        raise _refusal(table, error) from None
    except (InterfaceError, OSError) as error:
        raise DataError(f"can't be reached ({error.__cause__ or error})", where=_WHERE) from None


class _Careful(CoreConnection):
    """Says its password over TLS alone; elsewhere it proves that it knows it (SCRAM), or nothing."""

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's)
        """Answer what the other end asks, unless it wants what it, or whoever listens there, could use."""
        is_tls = isinstance(self._usock, ssl.SSLSocket)
        if int.from_bytes(data[:4]) in _REVEALING and not is_tls:
            raise DataError(
                "asks for the password in a form that whoever listens there could use",
                where=_WHERE,
                remedy="Let pg_hba.conf have scram-sha-256, or name `authority`, and it goes over TLS.",
            )
        super().handle_AUTHENTICATION_REQUEST(data, context)


def _connection(table: CohortTable) -> CoreConnection:
    host = table.url.hostname
    secret = table.password and read_secret("[datasets.NAME.cohort] password", table.password, DataError)
    return _Careful(
        table.user,
        host=host or "",
        port=table.port,
        unix_sock=None if host else str(table.socket / f".s.PGSQL.{table.port}"),
        database=table.url.path.strip("/"),
        password=secret,
        ssl_context=_context(table) if table.needs_tls else False,  # None would take any certificate
        timeout=table.seconds + _CONNECT,
        application_name="wardround",
        startup_params={
            "default_transaction_read_only": "on",
            "statement_timeout": str(table.seconds * 1000),
            "idle_in_transaction_session_timeout": str(table.seconds * 1000),
        },
    )


def _context(table: CohortTable) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=table.authority)
    except OSError as error:
        raise DataError(f"can't be read as certificates ({error})", where=table.authority) from None


def _refusal(table: CohortTable, error: DatabaseError) -> DataError:
    said: dict[str, Any] = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    code, message = str(said.get("C", "")), str(said.get("M", error))
    if code == _CANCELLED:
        return _too_long(table)
    if code.startswith(("28", "3D")):  # the account, the database's name
        return DataError(f"lets nobody in: {message}", where=_WHERE)
    return DataError(f"is refused by the database: {message}", where=table.query)


def _too_long(table: CohortTable) -> DataError:
    return DataError(
        f"took longer than {table.seconds} s, and was given up",
        where=table.query,
        remedy="seconds of [datasets.NAME.cohort] allows more.",
    )
