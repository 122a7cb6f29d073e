"""A connection to PostgreSQL over which no row is believed before the server has proven who it is.

Over TLS its certificate proves that; on this machine's socket it is the user that the kernel names
(`SO_PEERCRED`, as for libpq's `requirepeer`). Where there is neither, it is the server's signature in SCRAM
(RFC 5802, `v=`), which whoever listens in its place does not have.
"""

import os
import pwd
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

from pg8000.core import CoreConnection
from pg8000.exceptions import InterfaceError

from shared.errors import DataError

WHERE = "[datasets.NAME.cohort] database"
_OK, _REVEALING, _SASL, _SASL_FINAL = 0, (3, 5), 10, 12  # 3 is the password itself, 5 its MD5
_MECHANISMS = (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")
_OWNER = "postgres"
_CREDENTIALS = struct.Struct("3i")  # of a process: its number, user, group
_LONGEST = 2**16  # bytes of a message before the proof; PostgreSQL's have less than 1000


class ProvenConnection(CoreConnection):
    """Says its password over TLS alone; elsewhere both ends prove that they know it (SCRAM).

    Args:
        is_known: Whether the server has proven who it is before it says anything: by its certificate, or as
            the socket's owner.
        given: What pg8000 takes.

    Raises:
        DataError: The server proves nothing, or wants what whoever listens there could use.
    """

    def __init__(self, *, is_known: bool, **given: Any) -> None:
        self._is_known = is_known
        super().__init__(**given)

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's)
        """Answer what the other end asks, unless it wants what it, or whoever listens there, could use."""
        kind = int.from_bytes(data[:4])
        if kind != _OK and self.password is None:
            raise DataError("asks for a password", where=WHERE, remedy='Name it: password = "file:PATH".')
        if kind in _REVEALING and not isinstance(self._usock, ssl.SSLSocket):
            raise DataError(
                "asks for the password in a form that whoever listens there could use",
                where=WHERE,
                remedy="Let pg_hba.conf have scram-sha-256, or name `authority`, and it goes over TLS.",
            )
        if kind == _SASL:
            self._is_known = False  # what is begun must come to its end
            data = data[:4] + _strong(data[4:])
        super().handle_AUTHENTICATION_REQUEST(data, context)
        if kind == _SASL_FINAL:  # its signature is right, or that was an error
            self._is_known = True

    def handle_READY_FOR_QUERY(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's)
        """Go on to the query, if the other end has proven who it is."""
        if not self._is_known:
            raise DataError(
                "lets anybody in and proves nothing: whoever listens there could answer in its place",
                where=WHERE,
                remedy="Let pg_hba.conf have scram-sha-256, and name user and password; or name `authority` "
                "(TLS), or use this machine's socket (postgresql:///NAME).",
            )
        if isinstance(self._usock, PlainSocket):
            self._usock.is_wary = False
        super().handle_READY_FOR_QUERY(data, context)


def _strong(offered: bytes) -> bytes:
    """Return those of the offered mechanisms that are strong enough."""
    kept = [name for name in offered.split(b"\0") if name in _MECHANISMS]
    if not kept:
        raise DataError(
            "does not offer SCRAM-SHA-256", where=WHERE, remedy="pg_hba.conf says what it offers."
        )
    return b"".join(name + b"\0" for name in kept) + b"\0"


class PlainSocket(socket.socket):
    """A connection without TLS; what comes before the server's proof is short, or it is not PostgreSQL."""

    is_wary = True

    @classmethod
    def to(cls, host: str, port: int, seconds: float) -> "PlainSocket":
        """Return a connection to this machine.

        Raises:
            OSError: Nobody listens there.
        """
        found = cls(fileno=socket.create_connection((host, port), seconds).detach())
        found.settimeout(seconds)
        return found

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        """Return it as a file."""
        file = super().makefile(*args, **kwargs)
        read = file.read

        def bounded(size: int) -> bytes:
            if self.is_wary and not 0 <= size <= _LONGEST:
                raise InterfaceError("it does not answer as PostgreSQL does")
            return read(size)

        file.read = bounded
        return file


def socket_of(path: Path, owner: str | None, seconds: float) -> socket.socket:
    """Return a connection to this machine's socket, whose server is the owner's.

    Args:
        path: The socket.
        owner: Name or number of the user under whom the server runs; `postgres` where it is None. Root and
            the user of this process, who can read the password anyway, may always be.
        seconds: For each answer.

    Raises:
        DataError: It is somebody else's.
        OSError: Nobody listens there.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(seconds)
        found.connect(str(path))
        _, user, _ = _CREDENTIALS.unpack(
            found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if user not in {0, os.geteuid(), _number(owner or _OWNER)}:
            raise DataError(
                f"its server runs as user {_name(user)}, and not as {owner or _OWNER}: it could answer "
                "in the database's place",
                where=path,
                remedy=f'If it is the right one: socket_owner = "{_name(user)}" in [datasets.NAME.cohort].',
            )
    except BaseException:
        found.close()
        raise
    return found


def _number(user: str) -> int | None:
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
