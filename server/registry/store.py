"""The SQLite file of the registry: its tables, and transactions on it."""

import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from pydantic import TypeAdapter, ValidationError

from shared.database import WAIT
from shared.errors import WardroundError
from shared.pki.certificates import Clock, CredentialError, utc_now
from shared.table import Name

REGISTRY = "registry.sqlite"  # in a coordinator's folder
VERSION = 2
DEFAULT_PROJECT = "default"
PROJECTS = f"""
CREATE TABLE project (
    name TEXT PRIMARY KEY,
    removed INTEGER
);
CREATE TABLE person_project (
    person TEXT NOT NULL,
    project TEXT NOT NULL REFERENCES project (name),
    PRIMARY KEY (person, project)
);
CREATE TABLE site_project (
    site TEXT NOT NULL,
    project TEXT NOT NULL REFERENCES project (name),
    PRIMARY KEY (site, project)
);
INSERT INTO project VALUES ('{DEFAULT_PROJECT}', NULL);
"""  # noqa: S608 (a constant); a site may be invited to a project before there is a row for it
# A registry from before there were projects: everybody belongs to one, as everybody saw everything.
MIGRATION = f"""
BEGIN IMMEDIATE;
{PROJECTS}
INSERT INTO person_project SELECT name, '{DEFAULT_PROJECT}' FROM person;
INSERT INTO site_project SELECT name, '{DEFAULT_PROJECT}' FROM site
    UNION SELECT site, '{DEFAULT_PROJECT}' FROM invitation;
PRAGMA user_version = {VERSION};
COMMIT;
"""  # noqa: S608 (a constant)
SCHEMA = f"""
CREATE TABLE site (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('joined', 'revoked')),
    joined INTEGER NOT NULL,
    last_seen INTEGER
);
CREATE TABLE certificate (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL REFERENCES site (name),
    public_key TEXT NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER
);
CREATE INDEX certificate_of_site ON certificate (site);
CREATE INDEX certificate_of_key ON certificate (public_key);
CREATE TABLE invitation (
    token_hash TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER
);
CREATE TABLE person (
    name TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'researcher', 'operator')),
    expires INTEGER NOT NULL
);
{PROJECTS}
PRAGMA user_version = {VERSION};
"""
RENEWALS = """
CREATE TABLE IF NOT EXISTS renewal (
    request TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    public_key TEXT NOT NULL,
    time INTEGER NOT NULL
)
"""


ACCOUNTS = """
CREATE TABLE IF NOT EXISTS account (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    PRIMARY KEY (issuer, subject)
);
CREATE TABLE IF NOT EXISTS account_token (
    token_hash TEXT PRIMARY KEY,
    name TEXT NOT NULL REFERENCES account (name),
    role TEXT NOT NULL CHECK (role IN ('viewer', 'researcher', 'operator')),
    projects TEXT NOT NULL,
    expires INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS former_person (name TEXT PRIMARY KEY);
"""


# Errors of the disk, which others can end: no room, no right to write, a fault.
_PASSES = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_BUSY")


class Audit(Protocol):
    """Writes an entry of the audit log."""

    def __call__(self, event: str, **fields: str) -> object:
        """Record what happened; fields hold names and reasons, never a token or a key."""


class RegistryError(WardroundError):
    """A registry that can't be used, or a request that does not fit what it holds."""


class RefusedError(RegistryError):
    """A request that is not granted.

    Attributes:
        reason: One word for the audit log, such as ``expired-invitation``.
    """

    reason = "refused"

    @classmethod
    def because(cls, reason: str, problem: str, remedy: str | None = None) -> Self:
        """Return the error with its reason."""
        error = cls(problem, remedy=remedy)
        error.reason = reason
        return error


class BusyError(RegistryError):
    """A registry that can't be changed now: another process does, or the disk is full."""


class Store:
    """An open registry; one object may serve many threads, and several processes may open the same file.

    Args:
        path: The file.
        audit: Told of every change and every refusal.
        clock: Says when it is.

    Raises:
        RegistryError: The file is missing, is not a registry, or was written by another version.
    """

    def __init__(self, path: Path, audit: Audit, clock: Clock = utc_now) -> None:
        self._audit = audit
        self._clock = clock
        # Readers have a connection of their own: they never wait for a change, here or in another process.
        self._reading, self._changing = threading.Lock(), threading.Lock()
        self._reader, self._writer = _connect(path), _connect(path)

    @classmethod
    def create(cls, path: Path) -> None:
        """Make a new registry, readable by its owner only.

        Raises:
            RegistryError: There is a file already, or it can't be written.
        """
        try:
            path.touch(mode=0o600, exist_ok=False)
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"can't be made ({error})", where=path) from None

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Run a block on one state of the registry."""
        with self._reading:
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("COMMIT")

    @contextmanager
    def _change(self, wait: float = WAIT) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction that no other process's change can come between.

        Args:
            wait: Seconds to wait for changes of others.

        Raises:
            BusyError: They took longer, or the disk is full.
        """
        if not self._changing.acquire(timeout=wait):
            raise BusyError("is busy with another change")
        try:
            self._writer.execute(f"PRAGMA busy_timeout = {round(wait * 1000)}")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise BusyError(f"can't be changed now ({error})") from None
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname.startswith(_PASSES):
                    raise BusyError(f"can't be changed now ({error})") from None
                raise
        finally:
            self._changing.release()

    @contextmanager
    def _refusals(self, event: str, **fields: str) -> Iterator[dict[str, str]]:
        """Tell the audit log of a refusal inside the block; give the entry's fields, to be added to."""
        try:
            yield fields
        except CredentialError as error:
            self._audit(event, reason="bad-request", problem=error.problem, **fields)
            raise RefusedError.because("bad-request", error.problem) from None
        except RefusedError as error:
            self._audit(event, reason=error.reason, problem=error.problem, **fields)
            raise

    def _now(self) -> int:
        return int(self._clock().timestamp())


def check_name(name: str) -> None:
    """Check the name of a site or a person.

    Raises:
        RegistryError: It is not valid.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        remedy = "Use 1 to 63 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit."
        raise RegistryError(f"'{name}' is not a valid name", remedy=remedy) from None


def token_hash(token: str) -> str:
    """Return what is kept of a token: it is 256 random bits, so a plain SHA-256 can't be turned round."""
    return hashlib.sha256(token.encode()).hexdigest()


def as_time(seconds: int) -> datetime:
    """Return a time as the tables hold it, with its zone."""
    return datetime.fromtimestamp(seconds, UTC)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection) -> int:
    """Bring a registry of version 1 up to this one, whole or not at all; returns the version that it has."""
    try:
        db.executescript(MIGRATION)
    except sqlite3.OperationalError:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if _version(db) != VERSION:  # else another process was quicker
            raise
    return _version(db)


def _keep_copy(db: sqlite3.Connection, copy: Path) -> None:
    """Keep a registry as it was before it is brought up to this version."""
    if copy.exists():
        return
    with tempfile.TemporaryDirectory(prefix=".copy.", dir=copy.parent) as scratch:
        made = Path(scratch) / copy.name
        with closing(sqlite3.connect(made)) as target:
            db.backup(target)
            is_earlier = _version(target) == 1  # another process may have been quicker
        if is_earlier:
            made.chmod(0o600)
            with suppress(FileExistsError):
                os.link(made, copy)


def _connect(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=rw"
    try:
        db = sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False)
        version = _version(db)
        if version == 1:
            _keep_copy(db, path.with_name(f"{path.name}.version-1"))
            version = _migrate(db)
        if version == VERSION:
            db.execute(RENEWALS)  # a registry, or a backup of one, may be older than these tables
            db.executescript(ACCOUNTS)
    except sqlite3.Error as error:
        remedy = "Is this a folder made by `wardround server init`?"
        if isinstance(error, sqlite3.OperationalError) and path.exists():
            remedy = "Is there room on its disk, and may this user write in the folder?"
        raise RegistryError(f"can't be opened ({error})", where=path, remedy=remedy) from None
    if version != VERSION:
        db.close()
        raise RegistryError(f"is of version {version}, this program reads {VERSION}", where=path)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")  # a token that was used must be so after a power cut too
    return db
