"""Projects of a federation: which people see which runs, and which sites those runs reach."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from server.registry.store import RegistryError, Store, check_name
from shared.text.names import suggestion

Kind = Literal["person", "site"]
_KNOWN: dict[Kind, str] = {
    "person": "SELECT name FROM person",
    "site": "SELECT name FROM site UNION SELECT site FROM invitation WHERE used IS NULL",
}
_JOIN: dict[Kind, str] = {
    "person": "INSERT OR IGNORE INTO person_project VALUES (?, ?)",
    "site": "INSERT OR IGNORE INTO site_project VALUES (?, ?)",
}
_LEAVE: dict[Kind, str] = {
    "person": "DELETE FROM person_project WHERE person = ?",
    "site": "DELETE FROM site_project WHERE site = ?",
}
_PROJECTS: dict[Kind, str] = {
    "person": "SELECT project FROM person_project WHERE person = ? ORDER BY project",
    "site": "SELECT project FROM site_project WHERE site = ? ORDER BY project",
}
_MEMBERS: dict[Kind, str] = {
    "person": "SELECT person AS name FROM person_project WHERE project = ? ORDER BY person",
    "site": "SELECT site AS name FROM site_project WHERE project = ? ORDER BY site",
}


@dataclass(frozen=True)
class Project:
    """A project with its members, by name."""

    name: str
    people: tuple[str, ...]
    sites: tuple[str, ...]


class Projects(Store):
    """The projects of a registry."""

    def add_project(self, name: str) -> None:
        """Make a project without members.

        Raises:
            RegistryError: The name is not valid, or a project has it or had it once.
        """
        check_name(name)
        with self._change() as db:
            row = db.execute("SELECT removed FROM project WHERE name = ?", (name,)).fetchone()
            if row is not None and row["removed"] is None:
                raise RegistryError(f"the project '{name}' is there already")
            if row is not None:  # its people would see the runs of the earlier one
                raise RegistryError(f"there was a project '{name}' before", remedy="Choose another name.")
            db.execute("INSERT INTO project VALUES (?, NULL)", (name,))
        self._audit("project-added", project=name)

    def remove_project(self, name: str) -> None:
        """End a project that has no members any more; its runs are for operators from then on.

        Raises:
            RegistryError: There is no such project, or somebody belongs to it.
        """
        with self._change() as db:
            check_projects(db, [name])
            found = _project(db, name)
            if members := (*found.people, *found.sites):
                remedy = f"Let them leave it: `wardround server projects leave {name} --help`."
                raise RegistryError(f"{', '.join(members)} still belong to '{name}'", remedy=remedy)
            db.execute("UPDATE project SET removed = ? WHERE name = ?", (self._now(), name))
        self._audit("project-removed", project=name)

    def join_project(self, name: str, kind: Kind, member: str) -> None:
        """Let a person or a site, which may be invited only, belong to a project.

        Raises:
            RegistryError: There is no such project, or nobody of that name.
        """
        with self._change() as db:
            known = [row["name"] for row in db.execute(_KNOWN[kind])]
            if member not in known:
                raise RegistryError(f"there is no {kind} '{member}'; {suggestion(member, known)}")
            assign(db, kind, member, [name])
        self._audit("project-joined", project=name, **{kind: member})

    def leave_project(self, name: str, kind: Kind, member: str) -> None:
        """Let a person or a site belong to a project no more.

        Raises:
            RegistryError: There is no such project, or it has no such member.
        """
        with self._change() as db:
            check_projects(db, [name])
            if not db.execute(_LEAVE[kind] + " AND project = ?", (member, name)).rowcount:
                known = _members(db, kind, name)
                raise RegistryError(
                    f"the {kind} '{member}' does not belong to '{name}'; {suggestion(member, known)}"
                )
        self._audit("project-left", project=name, **{kind: member})

    def projects(self) -> list[Project]:
        """Return the projects, by name."""
        with self._read() as db:
            return [_project(db, name) for name in _names(db)]

    def sites_of(self, project: str) -> frozenset[str]:
        """Return the names of a project's sites."""
        with self._read() as db:
            return frozenset(_project(db, project).sites)

    def project_names(self) -> list[str]:
        """Return the names of the projects."""
        with self._read() as db:
            return _names(db)


def choose_project(asked: str | None, own: Sequence[str]) -> str:
    """Return the project of a new run.

    Args:
        asked: By name; None where nobody named one.
        own: Those of the person who submits.

    Raises:
        RegistryError: It is not theirs, or it is not clear which is meant.
    """
    if not own:
        raise RegistryError("you belong to no project", remedy="Ask the operator.")
    listed = ", ".join(own)
    if asked is None and len(own) > 1:
        raise RegistryError("which project is meant?", remedy=f"Name one with --project: {listed}.")
    if asked is not None and asked not in own:
        raise RegistryError(f"'{asked[:100]}' is not a project of yours", remedy=f"Yours: {listed}.")
    return asked or own[0]


def assign(db: sqlite3.Connection, kind: Kind, member: str, projects: Iterable[str]) -> None:
    """Let a person or a site belong to projects, besides those that it belongs to.

    Raises:
        RegistryError: There is no such project.
    """
    names = list(projects)
    check_projects(db, names)
    db.executemany(_JOIN[kind], [(member, name) for name in names])


def leave_all(db: sqlite3.Connection, kind: Kind, member: str) -> None:
    """Let a person or a site belong to no project."""
    db.execute(_LEAVE[kind], (member,))


def the_only_project(db: sqlite3.Connection) -> list[str]:
    """Return where who is added belongs when no project was named.

    Raises:
        RegistryError: There are several, or none.
    """
    names = _names(db)
    if len(names) != 1:
        remedy = f"Name it with --project: {', '.join(names) or 'there is none yet'}."
        raise RegistryError("which project is meant?", remedy=remedy)
    return names


def projects_of(db: sqlite3.Connection, kind: Kind, member: str) -> tuple[str, ...]:
    """Return the projects that a person or a site belongs to, by name."""
    return tuple(row["project"] for row in db.execute(_PROJECTS[kind], (member,)))


def _names(db: sqlite3.Connection) -> list[str]:
    return [row["name"] for row in db.execute("SELECT name FROM project WHERE removed IS NULL ORDER BY name")]


def _project(db: sqlite3.Connection, name: str) -> Project:
    return Project(name, _members(db, "person", name), _members(db, "site", name))


def _members(db: sqlite3.Connection, kind: Kind, project: str) -> tuple[str, ...]:
    return tuple(row["name"] for row in db.execute(_MEMBERS[kind], (project,)))


def check_projects(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Check that there are projects of these names.

    Raises:
        RegistryError: One is not there.
    """
    known = _names(db)
    for name in names:
        if name not in known:
            raise RegistryError(f"there is no project '{name}'; {suggestion(name, known)}")
