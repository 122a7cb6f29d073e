"""What is still to be told, and what was told: an SQLite file, so that a crash loses and repeats nothing.

An event is written together with the state that it tells of; it goes when a channel has taken it. A process
killed between the two sends it again, under the same id.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from shared.database import transaction
from shared.notify.event import Event
from shared.notify.settings import NotifyError

FILE = "notify.sqlite"
MOST = 1000  # events that wait; beyond them the oldest are given up
_FIRST_RETRY, _LATEST_RETRY = 5.0, 3600.0  # seconds
_GIVE_UP = 7 * 86400.0  # seconds after which nobody needs to know any more
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS letter (number INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL,"
    " content TEXT NOT NULL, written REAL NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL)",
)


@dataclass(frozen=True)
class Letter:
    """An event on its way through one channel."""

    number: int
    channel: str
    event: Event
    tries: int


class Outbox:
    """The events of one service.

    Args:
        path: The file; made if missing, readable by its user alone.
        clock: Seconds since 1970.

    Raises:
        NotifyError: The file can't be used.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise NotifyError(f"can't be written ({error.strerror})", where=path) from None
        with self._change() as db:
            for statement in _SCHEMA:
                db.execute(statement)

    def state(self, key: str) -> str | None:
        """Return what was last noted under a key."""
        with self._change() as db:
            row = db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, key: str, value: str, event: Event | None, channels: Sequence[str]) -> None:
        """Note a state and, at once with it, what is to be told of it; nothing where it was noted before."""
        with self._change() as db:
            known = db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
            if known is not None and known[0] == value:
                return
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
            if event is not None:
                now = self._clock()
                rows = [(channel, event.cloud_event(), now, now) for channel in channels]
                db.executemany("INSERT INTO letter VALUES (NULL, ?, ?, ?, 0, ?)", rows)
                db.execute(
                    "DELETE FROM letter WHERE number NOT IN"
                    " (SELECT number FROM letter ORDER BY number DESC LIMIT ?)",
                    (MOST,),
                )

    def due(self, channels: Sequence[str]) -> list[Letter]:
        """Return what is to be sent now through these channels, the oldest first."""
        query = "SELECT number, channel, content, tries FROM letter WHERE due <= ? ORDER BY number"
        with self._change() as db:
            rows = db.execute(query, (self._clock(),)).fetchall()
        return [
            Letter(number, channel, Event.parse(content), tries)
            for number, channel, content, tries in rows
            if channel in channels
        ]

    def waiting(self) -> int:
        """Return how many letters have not been sent."""
        with self._change() as db:
            return int(db.execute("SELECT COUNT(*) FROM letter").fetchone()[0])

    def sent(self, letter: Letter) -> None:
        """Forget a letter that a channel has taken."""
        with self._change() as db:
            db.execute("DELETE FROM letter WHERE number = ?", (letter.number,))

    def failed(self, letter: Letter) -> bool:
        """Put a letter off, ever longer; returns whether it was given up instead."""
        now, wait = self._clock(), min(_FIRST_RETRY * 2**letter.tries, _LATEST_RETRY)
        with self._change() as db:
            old = db.execute(
                "DELETE FROM letter WHERE number = ? AND written < ?", (letter.number, now - _GIVE_UP)
            )
            db.execute(
                "UPDATE letter SET tries = tries + 1, due = ? WHERE number = ?", (now + wait, letter.number)
            )
        return old.rowcount > 0

    def _change(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(
            self._path, lambda error: NotifyError(f"can't be used ({error})", where=self._path)
        )
