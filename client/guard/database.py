"""A site's SQLite files: one transaction at a time, which no other process can come between.

Each transaction has a connection of its own: a book is used a few times a round, by service, worker and
commands at once. The coordinator's registry (`server/registry/store.py`), asked at every request, keeps its
open.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import ClassVar

from shared.errors import SiteError

WAIT = 30.0  # seconds for another process's transaction


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


@contextmanager
def transaction(path: Path, what: str, *, wal: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a file, made if missing, for one transaction; an exception undoes it.

    When the block ends, what it wrote is on the disk.

    Args:
        path: The file.
        what: What the file is to people, for the error.
        wal: Write ahead, so that who reads never waits for who writes. The caller keeps others away while the
            file is made: its mode can't be changed under them.

    Raises:
        SiteError: The file can't be used.
    """
    try:
        with closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            if wal:
                db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise SiteError(f"{what} can't be used ({error})", where=path.name) from None
