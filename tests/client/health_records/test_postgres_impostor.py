"""Whoever listens in place of PostgreSQL is told no password, and none of its rows is believed."""

import base64
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.health_records.omop import QUERY
from tests.client.health_records.site import asked, write_site
from tests.postgres import PASSWORD

Answer = bytes | Callable[[bytes], bytes]


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


def asks(kind: int, body: bytes = b"") -> bytes:
    """Return a request for authentication."""
    return message(b"R", struct.pack("!I", kind) + body)


READY = message(b"Z", b"I")
LET_IN = asks(0) + READY
SASL = asks(10, b"SCRAM-SHA-256\0\0")
WRONG = asks(12, b"v=" + base64.b64encode(bytes(32)))


def first(heard: bytes) -> bytes:
    """Return the server's first word of SCRAM, which anybody can say."""
    nonce = heard.rpartition(b"r=")[2].decode()
    return asks(11, f"r={nonce}more,s={base64.b64encode(bytes(16)).decode()},i=4096".encode())


def write_place(folder: Path, where: str, *, password: bool = True) -> None:
    cohort = f'database = "{where}"\nuser = "wardround"\n'
    if password:
        (folder / "omop.password").write_text(PASSWORD)
        (folder / "omop.password").chmod(0o600)
        cohort += 'password = "file:omop.password"\n'
    write_site(folder, cohort, QUERY)


@contextmanager
def answering(listener: socket.socket, *answers: Answer) -> Iterator[list[bytes]]:
    """Let somebody listen in the database's place; gives what is heard."""
    heard: list[bytes] = []

    def listen() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                heard.append(connection.recv(1000))
                connection.sendall(answer if isinstance(answer, bytes) else answer(heard[-1]))
            heard.append(connection.recv(1000))

    with listener:
        listening = threading.Thread(target=listen)
        listening.start()
        yield heard
        listening.join()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([asks(3)], "asks for the password in a form that whoever listens there could use"),
        ([asks(5, b"salt")], "asks for the password in a form that whoever listens there could use"),
        ([LET_IN], "lets anybody in and proves nothing"),
        ([READY], "lets anybody in and proves nothing"),
        ([SASL, first, LET_IN], "lets anybody in and proves nothing"),
        (
            [SASL, first, asks(12, b"v=" + base64.b64encode(bytes(32))) + LET_IN],
            "does not prove that it knows",
        ),
        ([SASL, first, asks(12, b"e=other-error") + LET_IN], "does not prove that it knows"),
        ([asks(10, b"SCRAM-SHA-1\0\0")], "does not offer SCRAM-SHA-256"),
        ([asks(12, b"v=AAAA") + LET_IN], "does not answer as PostgreSQL does"),
        ([b"R" + struct.pack("!i", 2**31 - 1)], "does not answer as PostgreSQL does"),
        ([b"R" + struct.pack("!i", -1)], "does not answer as PostgreSQL does"),
        ([b"?\0\0\0\4"], "does not answer as PostgreSQL does"),
    ],
)
def test_who_proves_nothing_is_told_nothing_and_not_believed(tmp_path: Path, answers, says: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    write_place(tmp_path, f"postgresql://127.0.0.1:{listener.getsockname()[1]}/omop")
    with answering(listener, *answers) as heard:
        said = asked(tmp_path)[1]
    assert says in said
    assert heard[0].endswith(b"\0")  # who it wants to be, and nothing after it
    assert heard[-1] in {b"", b"X\0\0\0\4"}  # a goodbye at most: no query
    assert not any(PASSWORD.encode() in what for what in heard)


def test_a_password_that_is_not_named_is_named(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    write_place(tmp_path, f"postgresql://127.0.0.1:{listener.getsockname()[1]}/omop", password=False)
    with answering(listener, SASL):
        assert "asks for a password" in asked(tmp_path)[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_strangers_socket_is_told_nothing(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / ".s.PGSQL.5432"))
    os.seteuid(65534)  # whoever listens is whom the kernel names
    try:
        listener.listen()
    finally:
        os.seteuid(0)
    write_place(tmp_path, "postgresql:///omop")
    own = (tmp_path / "site.toml").read_text() + f'socket = "{tmp_path}"\n'
    (tmp_path / "site.toml").write_text(own)
    with answering(listener) as heard:
        said = asked(tmp_path)[1]
    assert "runs as user nobody, and not as postgres" in said
    assert 'socket_owner = "nobody"' in said
    assert heard == [b""]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_the_owner_of_the_socket_may_be_named(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / ".s.PGSQL.5432"))
    os.seteuid(65534)
    try:
        listener.listen()
    finally:
        os.seteuid(0)
    write_place(tmp_path, "postgresql:///omop")
    own = (tmp_path / "site.toml").read_text() + f'socket = "{tmp_path}"\nsocket_owner = "65534"\n'
    (tmp_path / "site.toml").write_text(own)
    with answering(listener, asks(3)):
        assert "asks for the password in a form" in asked(tmp_path)[1]
