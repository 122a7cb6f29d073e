"""Looking at everything that can go wrong at a coordinator before `wardround server start`."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path

from server.audit.log import FOLDER as AUDIT_FOLDER
from server.audit.log import KEY as AUDIT_KEY
from server.folder.coordinator import ServerConfig, load_settings
from server.folder.passphrase import PASSPHRASE_FILE, read_passphrase
from server.gateway.gateway import listen
from server.oidc.provider import Provider
from server.oidc.settings import OidcTable
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from server.superlink.superlink import is_running
from shared.audit.newest_first import newest_first
from shared.audit.verify import verify
from shared.errors import WardroundError
from shared.findings import Finding, State, disk_space, guarded
from shared.notify.ready import channels_ready
from shared.pki.authority import Authority
from shared.pki.certificates import (
    check_issued,
    is_encrypted,
    load_certificate,
    load_key,
    may_sign_for,
    needs_renewal,
    public_key_of,
    serves,
    utc_now,
)
from shared.text.plural import many

FLOWER = "1.41."  # the version that `shared/flower/` is written for
AUTHORITY_DAYS = 365  # before the authority's end, from which on every site should hear of it
SECRETS = ("ca/ca.key", "tls/server.key", AUDIT_KEY, REGISTRY)


def check_coordinator(folder: Path) -> Iterator[Finding]:
    """Check a coordinator's folder, its credentials, its machine and its programs.

    Args:
        folder: Made by `wardround server init`.
    """
    config: ServerConfig | None = None
    try:
        config = load_settings(folder)
        yield Finding("ok", "server.toml", f"federation '{config.server.name}' at {config.server.host}")
    except WardroundError as error:
        yield Finding("failure", "server.toml", error.problem, error.remedy or "Correct the file.")
    if not folder.is_dir():
        return
    if config is not None:
        yield from _ports(folder, config)
    yield guarded("authority", partial(_authority, folder))
    if config is not None:
        yield guarded("certificate", partial(_certificate, folder, config.server.host))
        if config.notify.channels():
            yield guarded("notify", partial(channels_ready, config.notify, "server"))
    if config is not None and config.oidc is not None:
        yield guarded("accounts", partial(_accounts, folder, config.oidc))
    yield guarded("registry", partial(_registry, folder))
    yield guarded("audit log", partial(_audit, folder))
    yield _secrets(folder)
    yield _writable(folder)
    yield disk_space(folder)
    yield guarded("clock", partial(_clock, folder))
    yield _flower()


def _accounts(folder: Path, settings: OidcTable) -> Finding:
    with closing(Registry(folder / REGISTRY, lambda *_, **__: None)) as registry:
        known = registry.project_names()
    if missing := {project for group in settings.groups for project in group.projects} - set(known):
        remedy = "Add them with `wardround server projects add`, or correct [[oidc.groups]]."
        return Finding("failure", "accounts", f"no such project: {', '.join(sorted(missing))}", remedy)
    devices = asyncio.run(Provider(settings).offers_devices())
    how = "in browsers and on the command line" if devices else "in browsers"
    return Finding("ok", "accounts", f"of {settings.issuer}: log-in {how}")


def _ports(folder: Path, config: ServerConfig) -> Iterator[Finding]:
    if is_running(folder / "superlink"):
        yield Finding("ok", "ports", "in use by the coordinator, which is running")
        return
    addresses = config.server.listen_addresses()
    ports = (config.server.sites_port, config.server.people_port)
    for what, host, port in zip(("sites", "people"), addresses, ports, strict=True):
        yield guarded(f"{what} port", partial(_port, f"{what} port", host, port))


def _port(what: str, host: str, port: int) -> Finding:
    listen(host, port).close()
    return Finding("ok", what, f"{host} port {port} is free")


def _authority(folder: Path) -> Finding:
    key = folder / "ca" / "ca.key"
    if is_encrypted(key) and PASSPHRASE_FILE not in os.environ:
        remedy = f"Start it on a terminal, or let {PASSPHRASE_FILE} name a file with the passphrase."
        return Finding("warning", "authority", "its key has a passphrase and was not opened", remedy)
    authority = Authority.open(folder / "ca", read_passphrase(key) if is_encrypted(key) else None)
    days = (authority.certificate.not_valid_after_utc - utc_now()).days
    if days < AUTHORITY_DAYS:
        remedy = "`wardround server authority renew`: sites take the new one with their next certificate."
        return Finding("warning", "authority", f"opens; its certificate ends in {days} days", remedy)
    return Finding("ok", "authority", f"opens; {days} days left")


def _certificate(folder: Path, host: str) -> Finding:
    path = folder / "tls" / "server.crt"
    if not path.exists():
        return Finding("ok", "certificate", "of the listeners: made at the next start")
    certificate = load_certificate(path)
    if load_key(folder / "tls" / "server.key").public_key() != public_key_of(certificate):
        remedy = "Move the folder tls/ away: it is made again at the next start."
        return Finding("failure", "certificate", "does not belong to tls/server.key", remedy)
    authority = load_certificate(folder / "ca" / "ca.crt")
    check_issued(certificate, authority, utc_now())
    if not may_sign_for(authority, host):
        remedy = f"The coordinator has moved? `wardround server rehost {host}`."
        return Finding("failure", "certificate", f"server.toml says {host}, for which it is not", remedy)
    if not serves(certificate, host):
        return Finding("warning", "certificate", f"is not for {host}", "It is made anew at the next start.")
    days = (certificate.not_valid_after_utc - utc_now()).days
    if needs_renewal(certificate, utc_now()):
        return Finding("warning", "certificate", f"{days} days left", "It is renewed at the next start.")
    return Finding("ok", "certificate", f"of the listeners, for {host}: {days} days left")


def _registry(folder: Path) -> Finding:
    path = folder / REGISTRY
    with closing(Registry(path, lambda *_, **__: None)) as registry:  # checks its version
        sites, people = len(registry.sites()), len(registry.people())
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            whole = db.execute("PRAGMA quick_check").fetchone()[0]
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
    except sqlite3.Error as error:
        remedy = f"Does this user own {path} and its folder? Is the disk full?"
        return Finding("failure", "registry", f"can't be written ({error})", remedy)
    if whole != "ok":
        return Finding("failure", "registry", f"is damaged: {whole}", "Restore a backup into a new folder.")
    return Finding("ok", "registry", f"{many(sites, 'site')}, {many(people, 'person', 'people')}")


def _audit(folder: Path) -> Finding:
    key = load_key(folder / AUDIT_KEY)
    if not (folder / AUDIT_FOLDER).exists():
        return Finding("ok", "audit log", "not begun yet")
    if problems := verify(folder / AUDIT_FOLDER, key.public_key()):
        return Finding("failure", "audit log", f"{len(problems)} problems", "wardround server audit verify")
    return Finding("ok", "audit log", "whole")


def _secrets(folder: Path) -> Finding:
    """Look who may read what nobody else should."""
    exposed = [name for name in SECRETS if _mode(folder / name) & 0o077]
    if exposed:
        files = " ".join(str(folder / name) for name in exposed)
        detail = f"other users may read {', '.join(exposed)}"
        return Finding("failure", "secrets", detail, f"chmod 600 {files}")
    if _mode(folder) & 0o077:
        return Finding("warning", "secrets", "other users may look into the folder", f"chmod 700 {folder}")
    return Finding("ok", "secrets", "readable by their user only")


def _mode(path: Path) -> int:
    return path.stat().st_mode if path.exists() else 0


def _writable(folder: Path) -> Finding:
    places = [folder, *(path for name in ("runs", "superlink", "audit") if (path := folder / name).exists())]
    closed = [str(path) for path in places if not os.access(path, os.W_OK | os.X_OK)]
    if closed:
        remedy = "Let this user own the folder and all that is in it."
        return Finding("failure", "folder", f"can't be written: {', '.join(closed)}", remedy)
    return Finding("ok", "folder", "can be written")


def _clock(folder: Path) -> Finding:
    """Compare the clock with what it has said before: certificates and entries are not from the future."""
    now = utc_now()
    marks = [load_certificate(folder / "ca" / "ca.crt").not_valid_before_utc]
    if (folder / AUDIT_FOLDER).exists():
        newest = islice(newest_first(folder / AUDIT_FOLDER), 1)
        marks += [datetime.fromisoformat(entry.time) for entry in newest]
    latest = max(marks)
    if latest > now:
        remedy = "Set it by NTP: sites' requests are signed with the time."
        return Finding("failure", "clock", f"behind what was written at {latest:%Y-%m-%d %H:%M} UTC", remedy)
    return Finding(
        "ok", "clock", f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC; sites measure their own against it"
    )


def _flower() -> Finding:
    found = metadata.version("flwr")
    state: State = "ok" if found.startswith(FLOWER) else "failure"
    remedy = None if state == "ok" else f"pip install 'flwr=={FLOWER}*'"
    return Finding(state, "Flower", f"version {found}", remedy)
