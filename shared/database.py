"""SQLite files: one transaction at a time, which no other process can come between."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WAIT = 30.0  # seconds for another process's transaction
FORMAT = 1
"""Number of the form of these files (`PRAGMA user_version`)."""


@contextmanager
def transaction(
    path: Path, refused: Callable[[sqlite3.Error], Exception], *, wal: bool = False
) -> Iterator[sqlite3.Connection]:
    """Open a file, made if missing, for one transaction; an exception undoes it.

    When the block ends, what it wrote is on the disk.

    Args:
        path: The file.
        refused: Makes the error to raise of SQLite's, where the file can't be used.
        wal: Write ahead, so that who reads never waits for who writes. The caller keeps others away while the
            file is made: its mode can't be changed under them.
    """
    try:
        with closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            if wal:
                db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                _check_format(db)
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise refused(error) from None


def _check_format(db: sqlite3.Connection) -> None:
    """Give a file that has no number its own, and refuse one of a later version."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        db.execute(f"PRAGMA user_version = {FORMAT}")
    elif found > FORMAT:
        raise sqlite3.DatabaseError(
            f"it was written by a later version of Wardround: form {found}, and this one reads {FORMAT}"
        )
