"""The coordinator's folder: founding a federation, and opening what was founded.

`server.toml`, `ca/` (the authority), `tls/` (the listeners' key and certificate), `registry.sqlite`,
`audit.key` and `audit/` (the coordinator's log), `runs/`.
"""

import contextlib
import ipaddress
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, IPvAnyAddress, ValidationError, field_validator

from server.audit.log import create_audit_key
from server.folder.limits import Limits, PeopleLimits, RetentionTable, RunLimits
from server.folder.new_folder import is_vacant, made_whole
from server.oidc.settings import OidcTable
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from shared.errors import WardroundError
from shared.job.errors import describe
from shared.json_schema import write_schema
from shared.monitoring.settings import MonitoringTable
from shared.notify.settings import NotifyTable
from shared.pki.authority import Authority, Signatory
from shared.pki.certificates import (
    Clock,
    CredentialError,
    fingerprint,
    host_name,
    load_certificate,
    may_sign_for,
    needs_renewal,
    new_key,
    pem_of,
    save_key,
    serves,
    utc_now,
    write_file,
)
from shared.pki.join_string import Join, Port
from shared.table import Name, Table
from shared.toml_files import read_toml
from shared.wire.address import join_address

RUNS = "runs"  # the run folders
ANSWERS = "answers"  # what sites bring and runs fetch; nothing in it outlives the coordinator
MODELS = "models"  # what runs offer to their sites; nothing in it outlives the coordinator
COORDINATOR = "WARDROUND_COORDINATOR"  # environment variable: the folder, for the runs' processes
SITES_PORT = 9443
PEOPLE_PORT = 9444
SETTINGS = """\
#:schema {schemas}/server.schema.json
# The coordinator's settings, made by `wardround server init`.

[server]
# Name of the federation; it is in every certificate and can't be changed.
name = "{name}"
# DNS name or address under which sites and people reach the coordinator; it is in the server's certificate,
# and the authority may sign for no other.
host = "{host}"
# Port of the listener for sites (mutual TLS).
sites_port = {sites_port}
# Port of the listener for people, and for sites that join (TLS).
people_port = {people_port}
# Address of this machine on which each listens; without it every one, and loopback where `host` is there.
# sites_address = "0.0.0.0"
# people_address = "10.0.0.5"
# Folder with the weights that jobs may start from, NAME.safetensors each (docs/start.md).
# starts = "starts"

# What a peer may take; all keys are in docs/gateway.md, with what holds where nothing is written.
# [limits.sites]
# connections = 1000
# object_bytes = 67108864
# [limits.people]
# connections_each = 64

# How many runs are at work at once; the others wait in the queue (docs/federation.md).
# [limits.runs]
# at_once = 2
# each_person = 1

# How long runs are kept that have ended; without it for good.
# [retention]
# days = 365
# gigabytes = 200

# Who is told when a run begins, ends or fails, a certificate nears its end, a site is lost or back; all keys
# are in docs/notify.md. `wardround server notify --test` tries it.
# [notify]
# events = ["run-finished", "run-failed", "site-lost"]
# [notify.command]
# run = ["/usr/local/bin/tell"]
# [notify.webhook]
# url = "https://hooks.example.org/wardround"
# secret = "file:webhook.secret"
# [notify.mail]
# host = "mail.example.org"
# sender = "wardround@example.org"
# recipients = ["it@example.org"]

# Log-in with accounts of an institution (OpenID Connect), beside tokens: docs/people.md.
# [oidc]
# issuer = "https://id.example.org/realms/heart"
# client_id = "wardround"
# client_secret = "file:oidc.secret"
# [[oidc.groups]]
# name = "heart-researchers"
# role = "researcher"
# projects = ["default"]

# Numbers for Prometheus, on this machine's loopback or for node_exporter; docs/monitoring.md.
# [monitoring]
# port = 9464
# textfile = "/var/lib/node_exporter"
"""


class FolderError(WardroundError):
    """A coordinator's folder that can't be made or used."""


class ServerTable(Table):
    """`[server]`: who this is and where it is reached."""

    name: Name = Field(description="Name of the federation.")
    host: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="DNS name or address of the coordinator."
    )
    sites_port: Port = Field(SITES_PORT, description="Port of the listener for sites.")
    people_port: Port = Field(PEOPLE_PORT, description="Port of the listener for people.")
    sites_address: IPvAnyAddress | None = Field(
        None, description="Address of this machine on which the listener for sites listens."
    )
    people_address: IPvAnyAddress | None = Field(None, description="The same for people.")
    starts: Path = Field(
        Path("starts"),
        description="Folder with the weights that jobs may start from, NAME.safetensors each; from the "
        "folder of this file, if it is not absolute.",
    )

    def listen_addresses(self) -> tuple[str, str]:
        """Return the address to bind for sites, and the one for people."""
        usual = bind_address(self.host)
        return str(self.sites_address or usual), str(self.people_address or usual)


class LimitsTable(Table):
    """`[limits]`: what a peer may take of each listener, and how many runs are at work at once."""

    sites: Limits = Field(Limits(), description="Of the listener for sites.")
    people: PeopleLimits = Field(PeopleLimits(), description="Of the listener for people.")
    runs: RunLimits = Field(RunLimits(), description="Of runs; the others wait in the queue.")

    @field_validator("sites")
    @classmethod
    def _takes_models(cls, sites: Limits) -> Limits:
        least = Limits().body_bytes
        if sites.body_bytes < least:
            raise ValueError(f"body_bytes must be at least {least}: small models travel in such requests")
        return sites


class ServerConfig(Table):
    """The file `server.toml`."""

    server: ServerTable
    limits: LimitsTable = LimitsTable()
    notify: NotifyTable = NotifyTable()
    oidc: OidcTable | None = None
    monitoring: MonitoringTable = MonitoringTable()
    retention: RetentionTable = RetentionTable()


def bind_address(host: str) -> str:
    """Return the address to listen on for a public name: every one, but loopback for a rehearsal there."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_loopback:
            return host
        if address.version == 6:
            return "::"
    return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104 - it is a public service


def load_settings(folder: Path) -> ServerConfig:
    """Read `server.toml`.

    Raises:
        FolderError: It is missing, is not TOML, or has a wrong key or value.
    """
    path = folder / "server.toml"
    if not path.exists():
        remedy = "Give the folder made by `wardround server init` with --dir."
        raise FolderError("is not there", where=path, remedy=remedy)
    try:
        config = ServerConfig.model_validate(read_toml(path, FolderError))
    except ValidationError as error:
        raise FolderError(describe(error, ServerConfig), where=path) from None
    based = {name: getattr(config, name) for name in ("notify", "oidc", "monitoring")}
    return config.model_copy(update={name: table and table.based_on(folder) for name, table in based.items()})


def found(folder: Path, settings: ServerTable, passphrase: bytes | None, clock: Clock = utc_now) -> Authority:
    """Found a federation: make the coordinator's folder, whole or not at all.

    Raises:
        FolderError: The folder is there and not empty, or can't be written.
        CredentialError: The host is not valid, or the passphrase is too short.
    """
    folder = folder.absolute()
    require_absent(folder)
    host_name(settings.host)
    try:
        with made_whole(folder) as new:
            authority = Authority.create(new / "ca", settings.name, settings.host, passphrase, clock)
            write_server_certificate(new, authority, settings.host)
            create_audit_key(new)
            (new / RUNS).mkdir(mode=0o700)
            Registry.create(new / REGISTRY)
            text = SETTINGS.format(**settings.model_dump(), schemas=".")
            write_schema("server", ServerConfig, new)
            write_file(new / "server.toml", text.encode(), 0o644)
    except OSError as error:
        raise FolderError(f"can't be made ({error.strerror})", where=folder) from None
    return Authority(folder / "ca", authority.key, authority.certificate, clock)


def require_absent(folder: Path) -> None:
    """Check that a folder is not there, or is empty.

    Raises:
        FolderError: There is something.
    """
    if not is_vacant(folder):
        raise FolderError("is there already; nothing is overwritten", where=folder)


def write_server_certificate(folder: Path, authority: Signatory, host: str) -> None:
    """Make a new key and certificate for the listeners.

    Raises:
        CredentialError: A file can't be written.
    """
    key = new_key()
    certificate = authority.sign_server(key.public_key(), host)
    tls = folder / "tls"
    with tempfile.TemporaryDirectory(prefix=".tls.", dir=folder) as scratch:
        # Key and certificate change places with the old ones together.
        new = Path(scratch) / "tls"
        new.mkdir(mode=0o700)
        save_key(new / "server.key", key)
        write_file(new / "server.crt", pem_of(certificate), 0o644)
        if tls.exists():
            shutil.move(tls, Path(scratch) / "old")
        new.rename(tls)


def renew_server_certificate(folder: Path, authority: Signatory, host: str) -> bool:
    """Renew the listeners' certificate if it is missing, near its end, or not for this host or authority.

    Returns:
        Whether it was renewed.

    Raises:
        CredentialError: A file can't be read or written, or the authority may not sign for this host.
    """
    path = folder / "tls" / "server.crt"
    if not may_sign_for(authority.certificate, host):
        remedy = f"The coordinator has moved? `wardround server rehost {host}`."
        raise CredentialError(f"may not sign for '{host}'", where=folder / "ca" / "ca.crt", remedy=remedy)
    if path.exists():
        certificate = load_certificate(path)
        if serves(certificate, host) and not needs_renewal(certificate, authority.clock()):
            return False
    write_server_certificate(folder, authority, host)
    return True


def login_command(folder: Path) -> str:
    """Return the command with which a person logs in from another machine; the token is not in it."""
    settings = load_settings(folder).server
    authority = fingerprint(load_certificate(folder / "ca" / "ca.crt"))
    where = join_address(settings.host, settings.people_port)
    return f"wardround login https://{where} --authority {authority}"


def join_string(folder: Path, site: str, token: str) -> Join:
    """Return what a site needs to join with this token."""
    settings = load_settings(folder).server
    return Join(
        site=site,
        host=settings.host,
        people_port=settings.people_port,
        sites_port=settings.sites_port,
        authority=fingerprint(load_certificate(folder / "ca" / "ca.crt")),
        token=token,
    )
