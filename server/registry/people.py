"""People who may talk to the coordinator: their roles, and tokens that end."""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from pydantic import TypeAdapter

from server.registry.accounts import (
    Accounts,
    Facts,
    account_of,
    accounts_in,
    end_account,
    is_account,
)
from server.registry.projects import assign, leave_all, projects_of, the_only_project
from server.registry.store import RegistryError, as_time, check_name, token_hash
from shared.text.names import suggestion

Role = Literal["viewer", "researcher", "operator"]
PERSON_DAYS = 90


@dataclass(frozen=True)
class Person:
    """Someone with a token; the token itself is not kept.

    Attributes:
        projects: Those that the person belongs to.
    """

    name: str
    role: Role
    expires: datetime
    projects: tuple[str, ...]


class People(Accounts):
    """The people of a registry."""

    def add_person(self, name: str, role: str, days: int = PERSON_DAYS, projects: Sequence[str] = ()) -> str:
        """Return a new token for a person, to be shown once; it is kept hashed.

        Args:
            name: Of the person.
            role: What the person may do.
            days: For how long the token is valid.
            projects: Those that the person belongs to; the only one where none is named. An operator, who
                sees every project, need not belong to any.

        Raises:
            RegistryError: The name or role is not valid, the person is there already, there is no such
                project, or it is not clear which is meant.
        """
        check_name(name)
        if role not in get_args(Role):
            raise RegistryError(f"unknown role '{role}'; {suggestion(role, get_args(Role))}")
        token = secrets.token_urlsafe(32)
        with self._change() as db:
            if is_account(db, name):
                raise RegistryError(f"'{name}' is an account's name here", remedy="Choose another name.")
            if db.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
                remedy = f"For a new token: `wardround server people remove {name}`, then add again."
                raise RegistryError(f"'{name}' is there already", remedy=remedy)
            row = (name, token_hash(token), role, self._now() + days * 86400)
            db.execute("INSERT INTO person VALUES (?, ?, ?, ?)", row)
            if role != "operator" or projects:
                assign(db, "person", name, projects or the_only_project(db))
        self._audit("person-added", person=name, role=role)
        return token

    def remove_person(self, name: str) -> None:
        """End a person's token; an account can log in again as long as its provider's groups let it.

        Raises:
            RegistryError: There is no such person.
        """
        with self._change() as db:
            was_account = end_account(db, name)
            if not db.execute("DELETE FROM person WHERE name = ?", (name,)).rowcount and not was_account:
                names = [row["name"] for row in db.execute("SELECT name FROM person")]
                raise RegistryError(f"there is no '{name}'; {suggestion(name, names)}")
            leave_all(db, "person", name)  # the operator may give the name to somebody else
            if not was_account:
                db.execute("INSERT OR IGNORE INTO former_person VALUES (?)", (name,))
        self._audit("person-removed", person=name)

    def people(self) -> list[Person]:
        """Return everyone, by name, with those whose token has ended, and accounts that have logged in."""
        with self._read() as db:
            rows = db.execute("SELECT name, role, expires FROM person").fetchall()
            people = [_person(db, row) for row in rows] + [_with_account(own) for own in accounts_in(db)]
            return sorted(people, key=lambda person: person.name)

    def person_of(self, token: str) -> Person | None:
        """Return whose token this is, unless it has ended."""
        query = "SELECT name, role, expires FROM person WHERE token_hash = ?"
        with self._read() as db:
            row = db.execute(query, (token_hash(token),)).fetchone()
            account = account_of(db, token) if row is None else None
            person = None if row is None else _person(db, row)
        if account is not None:
            person = _with_account(account)
        if person is not None and person.expires.timestamp() <= self._now():
            self._audit("token-refused", person=person.name, reason="expired-token")
            return None
        return person


def _with_account(facts: Facts) -> Person:
    name, role, expires, projects = facts
    return Person(name, TypeAdapter(Role).validate_python(role), expires, projects)


def _person(db: sqlite3.Connection, row: sqlite3.Row) -> Person:
    name = row["name"]
    return Person(name, row["role"], as_time(row["expires"]), projects_of(db, "person", name))
