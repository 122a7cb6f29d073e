"""A query of a PostgreSQL database, in a transaction that can change nothing."""

import socket
import ssl
import struct
import time
from contextlib import closing
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from scramp.utils import ScramException

from client.health_records.cells import Found, Rows, too_long
from client.health_records.postgres_login import WHERE, PlainSocket, ProvenConnection, socket_of
from client.health_records.settings import CohortTable
from shared.errors import DataError
from shared.secret_places import read_secret

_AT_ONCE = 1_000  # rows
_CONNECT = 30.0  # seconds, at least
_CANCELLED = "57014"
# What pg8000 raises on answers that no PostgreSQL gives.
_DAMAGED = (struct.error, ValueError, LookupError, AttributeError)


def rows_of(table: CohortTable, query: str) -> Found:
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
                    raise too_long(table)
    except DatabaseError as error:
        raise _refusal(table, error) from None
    except (InterfaceError, OSError) as error:
        raise DataError(f"can't be reached ({error.__cause__ or error})", where=WHERE) from None
    except ScramException:
        raise DataError(
            "does not prove that it knows the password, so it may be another server", where=WHERE
        ) from None
    except _DAMAGED:
        raise DataError("does not answer as PostgreSQL does", where=WHERE) from None


def _connection(table: CohortTable) -> ProvenConnection:
    host, seconds = table.url.hostname, table.seconds + _CONNECT
    secret = table.password and read_secret("[datasets.NAME.cohort] password", table.password, DataError)
    sock: socket.socket | None = None  # over TLS pg8000 connects by itself
    if not host:
        sock = socket_of(table.socket / f".s.PGSQL.{table.port}", table.socket_owner, seconds)
    elif not table.needs_tls:
        sock = PlainSocket.to(host, table.port, seconds)
    return ProvenConnection(
        is_known=not host or table.needs_tls,
        user=table.user,
        host=host,
        port=table.port,
        sock=sock,
        database=table.url.path.strip("/"),
        password=secret,
        ssl_context=_context(table) if table.needs_tls else False,  # None would take any certificate
        timeout=seconds,
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
        return too_long(table)
    if code.startswith(("28", "3D")):  # the account, the database's name
        return DataError(f"lets nobody in: {message}", where=WHERE)
    return DataError(f"is refused by the database: {message}", where=table.query)
