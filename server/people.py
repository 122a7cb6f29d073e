"""People who may talk to the coordinator: their roles, and tokens that end."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from server.store import RegistryError, Store, as_time, check_name, token_hash
from shared.names import suggestion

Role = Literal["viewer", "researcher", "operator"]
PERSON_DAYS = 90


@dataclass(frozen=True)
class Person:
    """Someone with a token; the token itself is not kept."""

    name: str
    role: Role
    expires: datetime


class People(Store):
    """The people of a registry."""

    def add_person(self, name: str, role: str, days: int = PERSON_DAYS) -> str:
        """Return a new token for a person, to be shown once; it is kept hashed.

        Raises:
            RegistryError: The name or role is not valid, or the person is there already.
        """
        check_name(name)
        if role not in get_args(Role):
            raise RegistryError(f"unknown role '{role}'; {suggestion(role, get_args(Role))}")
        token = secrets.token_urlsafe(32)
        with self._change() as db:
            if db.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
                remedy = f"For a new token: `wardround server people remove {name}`, then add again."
                raise RegistryError(f"'{name}' is there already", remedy=remedy)
            row = (name, token_hash(token), role, self._now() + days * 86400)
            db.execute("INSERT INTO person VALUES (?, ?, ?, ?)", row)
        self._audit("person-added", person=name, role=role)
        return token

    def remove_person(self, name: str) -> None:
        """End a person's token.

        Raises:
            RegistryError: There is no such person.
        """
        with self._change() as db:
            if not db.execute("DELETE FROM person WHERE name = ?", (name,)).rowcount:
                names = [row["name"] for row in db.execute("SELECT name FROM person")]
                raise RegistryError(f"there is no '{name}'; {suggestion(name, names)}")
        self._audit("person-removed", person=name)

    def people(self) -> list[Person]:
        """Return everyone, by name, with those whose token has ended."""
        with self._read() as db:
            rows = db.execute("SELECT name, role, expires FROM person ORDER BY name").fetchall()
        return [Person(row["name"], row["role"], as_time(row["expires"])) for row in rows]

    def person_of(self, token: str) -> Person | None:
        """Return whose token this is, unless it has ended."""
        query = "SELECT name, role, expires FROM person WHERE token_hash = ?"
        with self._read() as db:
            row = db.execute(query, (token_hash(token),)).fetchone()
        if row is None:
            return None
        if row["expires"] <= self._now():
            self._audit("token-refused", person=row["name"], reason="expired-token")
            return None
        return Person(row["name"], row["role"], as_time(row["expires"]))
