"""SQLite files: one transaction at a time, which no other process can come between."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WAIT = 30.0  # seconds for another process's transaction


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
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise refused(error) from None
