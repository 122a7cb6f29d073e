"""People who log in with accounts of an institution: each keeps its first name here, tokens end soon."""

import json
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from server.registry.projects import Projects, check_projects
from server.registry.store import RegistryError, as_time, check_name, token_hash

Facts = tuple[str, str, datetime, tuple[str, ...]]
"""Name, role, end of the log-in, and projects of an account."""
_MOST_TOKENS = 20  # of one account at a time: more end the oldest
# Of whoever was removed too: their runs, and what hospitals allow them, would be those of the next account of
# that name, which with many providers people choose themselves.
_TAKEN = (
    "SELECT 1 FROM person WHERE name = :name UNION SELECT 1 FROM account WHERE name = :name"
    " UNION SELECT 1 FROM former_person WHERE name = :name"
)


class Accounts(Projects):
    """The accounts of a registry, known by their provider and its name for them."""

    def log_in_account(
        self, issuer: str, subject: str, wanted: str, *, role: str, projects: Sequence[str], hours: float
    ) -> str:
        """Return a new token for an account.

        Args:
            issuer: The provider.
            subject: Its name for the account, which is never anybody else's.
            wanted: Name that the account gets here, where it has none yet.
            role: What it may do, as the provider's groups say now.
            projects: To which it belongs, by the same.
            hours: For how long the token is valid.

        Raises:
            RegistryError: The name is not valid, or is or was somebody else's; there is no such project.
        """
        check_name(wanted)
        token = secrets.token_urlsafe(32)
        with self._change() as db:
            check_projects(db, projects)
            name, is_new = _named(db, issuer, subject, wanted)
            db.execute("DELETE FROM account_token WHERE expires <= ?", (self._now(),))
            db.execute(
                "DELETE FROM account_token WHERE name = ? AND token_hash NOT IN (SELECT token_hash FROM"
                " account_token WHERE name = ? ORDER BY expires DESC, rowid DESC LIMIT ?)",
                (name, name, _MOST_TOKENS - 1),
            )
            ends = self._now() + round(hours * 3600)
            row = (token_hash(token), name, role, json.dumps(list(projects)), ends)
            db.execute("INSERT INTO account_token VALUES (?, ?, ?, ?, ?)", row)
        if is_new:
            self._audit("person-added", person=name, role=role)
        return token


def accounts_in(db: sqlite3.Connection) -> list[Facts]:
    """Return name, role, end and projects of each account that has logged in lately, by its last log-in."""
    rows = db.execute("SELECT name, role, projects, expires FROM account_token ORDER BY expires, rowid")
    return list({row["name"]: _facts(row) for row in rows}.values())


def account_of(db: sqlite3.Connection, token: str) -> Facts | None:
    """Return name, role, end and projects of the account whose token this is."""
    query = "SELECT name, role, projects, expires FROM account_token WHERE token_hash = ?"
    row = db.execute(query, (token_hash(token),)).fetchone()
    return None if row is None else _facts(row)


def end_account(db: sqlite3.Connection, name: str) -> bool:
    """End the tokens of an account, which keeps its name; says whether there is such an account."""
    db.execute("DELETE FROM account_token WHERE name = ?", (name,))
    return db.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone() is not None


def is_account(db: sqlite3.Connection, name: str) -> bool:
    """Say whether a name is an account's."""
    return db.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone() is not None


def _facts(row: sqlite3.Row) -> Facts:
    return row["name"], row["role"], as_time(row["expires"]), tuple(json.loads(row["projects"]))


def _named(db: sqlite3.Connection, issuer: str, subject: str, wanted: str) -> tuple[str, bool]:
    query = "SELECT name FROM account WHERE issuer = ? AND subject = ?"
    if row := db.execute(query, (issuer, subject)).fetchone():
        return row["name"], False
    if db.execute(_TAKEN, {"name": wanted}).fetchone():
        remedy = "Runs are known by these names: let the provider give the account another one."
        raise RegistryError(f"the name '{wanted}' is, or was, somebody else's here", remedy=remedy)
    db.execute("INSERT INTO account VALUES (?, ?, ?)", (issuer, subject, wanted))
    return wanted, True
