"""A site's SQLite files: one transaction at a time, which no other process can come between.

Each transaction has a connection of its own: a book is used a few times a round, by service, worker and
commands at once. The coordinator's registry (`server/registry/store.py`), asked at every request, keeps its
open.
"""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from shared import database
from shared.errors import SiteError


class Book:
    """Tables of a site, in an SQLite file that service and commands, and other books, may use at once.

    A subclass says what it is to people, and what tables it has.

    Args:
        path: The file; made if missing.

    Raises:
        SiteError: The file can't be used.
    """

    what: ClassVar[str]
    schema: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._change() as db:
            make_tables(db, self.schema)

    def _change(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a transaction, see `transaction`."""
        return transaction(self._path, self.what)


def make_tables(db: sqlite3.Connection, schema: str) -> None:
    """Make the tables that are not there yet, in the transaction under way (`executescript` would end it)."""
    for statement in schema.split(";"):
        db.execute(statement)


def transaction(path: Path, what: str, *, wal: bool = False) -> AbstractContextManager[sqlite3.Connection]:
    """Return a transaction of one of the site's files, see `shared.database.transaction`.

    Args:
        path: The file.
        what: What the file is to people, for the error.
        wal: Write ahead.

    Raises:
        SiteError: The file can't be used.
    """
    return database.transaction(
        path, lambda error: SiteError(f"{what} can't be used ({error})", where=path.name), wal=wal
    )
