"""A real PostgreSQL for tests: on a socket in a folder of its own, and over TLS on this machine."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pg8000.native import Connection

from simulate.federation.processes import free_ports
from tests.orthanc import write_certificate

USER, PASSWORD = "wardround", "in a test, too"
_READY = "database system is ready to accept connections"
_HBA = "local all all trust\nhostssl all wardround 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class Postgres:
    """A database that runs.

    Attributes:
        folder: With its socket, and `authority.pem`, by which its certificate is checked.
        port: Over TLS; also in the name of the socket.
    """

    folder: Path
    port: int

    @property
    def by_socket(self) -> str:
        """The keys of `[datasets.NAME.cohort]` by which it is reached without a password."""
        return f'database = "postgresql://:{self.port}/omop"\nuser = "{USER}"\nsocket = "{self.folder}"\n'

    @property
    def by_tls(self) -> str:
        """Those by which it is reached over TLS, with the password of a file beside `site.toml`."""
        return (
            f'database = "postgresql://127.0.0.1:{self.port}/omop"\nuser = "{USER}"\n'
            f'password = "file:omop.password"\nauthority = "{self.folder / "authority.pem"}"\n'
        )

    def do(self, *statements: str) -> list[list[object]]:
        """Do something as its owner; return the rows of the last."""
        place = str(self.folder / f".s.PGSQL.{self.port}")
        with closing(Connection("postgres", unix_sock=place, database="omop")) as connection:
            return [connection.run(statement) for statement in statements][-1]


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a database, and stop it; skips the test where PostgreSQL is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("needs PostgreSQL, of Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="wardround-postgres-"))  # root's of pytest are closed to it
    try:
        _make(programs[-1].parent, folder)
        with _started(programs[-1].parent, folder) as port:
            running = Postgres(folder, port)
            with closing(
                Connection("postgres", unix_sock=str(folder / f".s.PGSQL.{port}"), database="postgres")
            ) as connection:
                connection.run("CREATE DATABASE omop")
            running.do(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'", f"GRANT pg_read_all_data TO {USER}")
            yield running
    finally:
        shutil.rmtree(folder)


def _as_its_user() -> dict[str, object]:
    """Return under whom it runs: never root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def _make(programs: Path, folder: Path) -> None:
    write_certificate(folder)
    (folder / "both.pem").chmod(0o600)
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres", "postgres")
    asked = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "--no-sync", "-E", "UTF8"]
    made = subprocess.run(asked, capture_output=True, text=True, cwd=folder, check=False, **_as_its_user())
    assert made.returncode == 0, made.stderr
    (folder / "data" / "pg_hba.conf").write_text(_HBA)


@contextmanager
def _started(programs: Path, folder: Path) -> Iterator[int]:
    """Give its port: another one, where somebody took the first meanwhile."""
    said: list[str] = []
    for _ in range(5):
        [port] = free_ports(1)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "ssl": "on",
            "ssl_cert_file": folder / "both.pem",
            "ssl_key_file": folder / "both.pem",
            "fsync": "off",
            "shared_buffers": "16MB",
            "lc_messages": "C",
        }
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *given],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            **_as_its_user(),
        )
        try:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if _READY in line:
                    threading.Thread(target=process.stderr.read, daemon=True).start()
                    yield port
                    return
        finally:
            process.terminate()
            process.wait()
    pytest.fail("PostgreSQL did not start:\n" + "".join(said))
