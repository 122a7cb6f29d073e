"""The registry: who is let in, who is refused, and what the audit log hears of it."""

import gzip
import io
import json
import os
import pty
import sqlite3
import stat
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from server.folder.backup import backup, restore
from server.folder.coordinator import FolderError, ServerTable, found, load_settings, renew_server_certificate
from server.registry.enrolment import Registry
from server.registry.store import BusyError, RefusedError, RegistryError
from shared.audit.verify import entries, verify
from shared.database import WAIT
from shared.errors import WardroundError
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request, renewal_statement
from shared.pki.certificates import (
    CredentialError,
    fingerprint,
    key_fingerprint,
    load_certificate,
    load_key,
    new_key,
    openssh,
    pem_of,
)
from shared.pki.join_string import parse_join
from tests.full_disk import full_disk, largest_in
from wardround.cli import main

PROJECT = Path(__file__).parents[3]


class Log:
    """Keeps what the audit log is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, str]]] = []

    def __call__(self, event: str, **fields: str) -> None:
        self.entries.append((event, fields))

    @property
    def last(self) -> tuple[str, str, str]:
        event, fields = self.entries[-1]
        return event, fields.get("site", ""), fields.get("reason", "")


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)


class Federation:
    """A coordinator's folder with its registry and authority open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.time = folder, Log(), Time()
        settings = ServerTable(name="lung-eu", host="127.0.0.1")
        self.authority = found(folder, settings, None, self.time)
        self.registry = Registry(folder / "registry.sqlite", self.log, self.time)

    def enrol(self, site: str, key: EllipticCurvePrivateKey) -> x509.Certificate:
        return self.registry.redeem(
            self.registry.invite(site), certificate_request(key, site), self.authority
        )

    def renew(
        self, current: x509.Certificate, key: EllipticCurvePrivateKey, wanted: EllipticCurvePrivateKey
    ) -> x509.Certificate:
        request = certificate_request(wanted, "st-mary")
        signature = key.sign(renewal_statement(request), ECDSA(SHA384()))
        return self.registry.renew(pem_of(current), request, signature, self.authority)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path / "fed")
    yield made
    made.registry.close()


# Invitations


def test_an_invited_site_is_let_in(federation: Federation) -> None:
    key = new_key()
    certificate = federation.enrol("st-mary", key)
    assert federation.log.last == ("site-enrolled", "st-mary", "")
    [site] = federation.registry.sites()
    assert (site.name, site.state, site.last_seen) == ("st-mary", "joined", None)
    assert site.public_key == openssh(key.public_key())
    assert site.serials == (certificate.serial_number,)
    assert federation.registry.site_of(certificate.serial_number, key.public_key()) == site
    assert federation.registry.invitations() == []


def test_a_token_is_good_once(federation: Federation) -> None:
    token = federation.registry.invite("st-mary")
    federation.registry.redeem(token, certificate_request(new_key(), "st-mary"), federation.authority)
    with pytest.raises(RefusedError, match="used already"):
        federation.registry.redeem(token, certificate_request(new_key(), "st-mary"), federation.authority)
    assert federation.log.last == ("enrolment-refused", "st-mary", "used-token")
    assert len(federation.registry.sites()[0].serials) == 1


def test_a_replay_of_a_whole_enrolment_is_refused(federation: Federation) -> None:
    token, request = federation.registry.invite("st-mary"), certificate_request(new_key(), "st-mary")
    federation.registry.redeem(token, request, federation.authority)
    with pytest.raises(RefusedError, match="used already"):
        federation.registry.redeem(token, request, federation.authority)


def test_of_many_who_use_a_token_at_once_one_is_let_in(federation: Federation) -> None:
    token = federation.registry.invite("st-mary")
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from server.registry.enrolment import Registry\nfrom server.registry.store import RefusedError\n"
        "from shared.pki.authority import Authority\n"
        "from shared.pki.certificate_requests import certificate_request\n"
        "from shared.pki.certificates import new_key\n"
        "folder = Path(sys.argv[1])\n"
        "authority = Authority.open(folder / 'ca')\n"
        "said = lambda event, **fields: print(fields.get('reason'))\n"
        "registry = Registry(folder / 'registry.sqlite', said)\n"
        "request = certificate_request(new_key(), 'st-mary')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n    registry.redeem(sys.argv[2], request, authority)\n    print('joined')\n"
        "except RefusedError: pass\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, federation.folder, token],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=60)[0].split()[-1] for process in processes)
    assert said == ["joined", "used-token", "used-token", "used-token"]
    assert len(federation.registry.sites()[0].serials) == 1


def test_an_invitation_expires(federation: Federation) -> None:
    token = federation.registry.invite("st-mary", hours=2)
    federation.time.passes(hours=2)
    with pytest.raises(RefusedError, match="expired"):
        federation.registry.redeem(token, certificate_request(new_key(), "st-mary"), federation.authority)
    assert federation.log.last == ("enrolment-refused", "st-mary", "expired-invitation")
    assert federation.registry.invitations() == []


def test_an_unknown_token_is_refused(federation: Federation) -> None:
    with pytest.raises(RefusedError, match="not known"):
        federation.registry.redeem("x" * 43, certificate_request(new_key(), "st-mary"), federation.authority)
    assert federation.log.last == ("enrolment-refused", "", "unknown-token")


def test_a_new_invitation_ends_the_one_before(federation: Federation) -> None:
    first, second = federation.registry.invite("st-mary"), federation.registry.invite("st-mary")
    request = certificate_request(new_key(), "st-mary")
    with pytest.raises(RefusedError, match="not known"):
        federation.registry.redeem(first, request, federation.authority)
    federation.registry.redeem(second, request, federation.authority)


def test_a_request_for_another_name_is_refused_and_the_invitation_stays(federation: Federation) -> None:
    token = federation.registry.invite("st-mary")
    with pytest.raises(RefusedError, match="not for the site 'st-mary'"):
        federation.registry.redeem(token, certificate_request(new_key(), "st-paul"), federation.authority)
    assert federation.log.last == ("enrolment-refused", "st-mary", "bad-request")
    assert federation.registry.sites() == []
    federation.registry.redeem(token, certificate_request(new_key(), "st-mary"), federation.authority)


def test_a_key_of_another_site_is_refused(federation: Federation) -> None:
    key = new_key()
    federation.enrol("st-mary", key)
    with pytest.raises(RefusedError, match="belongs to another site"):
        federation.enrol("st-paul", key)
    assert federation.log.last == ("enrolment-refused", "st-paul", "used-key")


@pytest.mark.parametrize("name", ["", "St-Mary", "../x", "a/b", "a b", "x" * 64, "-x"])
def test_names_that_are_none(federation: Federation, name: str) -> None:
    with pytest.raises(RegistryError, match="not a valid name"):
        federation.registry.invite(name)


def test_a_site_that_has_joined_is_not_invited_again(federation: Federation) -> None:
    federation.enrol("st-mary", new_key())
    with pytest.raises(RegistryError, match="has joined already"):
        federation.registry.invite("st-mary")


# Certificates


def test_each_refusal_has_its_reason(federation: Federation) -> None:
    key, other = new_key(), new_key()
    certificate = federation.enrol("st-mary", key)
    federation.enrol("st-paul", other)
    serial, public = certificate.serial_number, key.public_key()

    def reason(serial: int, public: object) -> str:
        assert federation.registry.site_of(serial, public) is None
        event, _, said = federation.log.last
        assert event == "certificate-refused"
        return said

    assert reason(4711, public) == "unknown-certificate"
    assert reason(serial, other.public_key()) == "another-key"
    federation.time.passes(days=91)
    assert reason(serial, public) == "expired"
    federation.time.passes(days=-91)
    federation.registry.revoke("st-mary")
    assert reason(serial, public) == "revoked"


def test_a_revocation_holds_at_once_in_other_processes_registries(federation: Federation) -> None:
    key = new_key()
    serial = federation.enrol("st-mary", key).serial_number
    with closing(Registry(federation.folder / "registry.sqlite", federation.log, federation.time)) as gateway:
        assert gateway.site_of(serial, key.public_key()) is not None
        federation.registry.revoke("st-mary")
        assert gateway.site_of(serial, key.public_key()) is None


def test_a_revoked_site_can_come_back_with_a_new_key_only(federation: Federation) -> None:
    key, fresh = new_key(), new_key()
    old = federation.enrol("st-mary", key)
    federation.registry.revoke("st-mary")
    token = federation.registry.invite("st-mary")
    with pytest.raises(RefusedError, match="was revoked"):
        federation.registry.redeem(token, certificate_request(key, "st-mary"), federation.authority)
    new = federation.registry.redeem(token, certificate_request(fresh, "st-mary"), federation.authority)
    assert federation.registry.site_of(new.serial_number, fresh.public_key()) is not None
    assert federation.registry.site_of(old.serial_number, key.public_key()) is None


def test_revoking_ends_an_open_invitation_too(federation: Federation) -> None:
    token = federation.registry.invite("st-mary")
    federation.registry.revoke("st-mary")
    with pytest.raises(RefusedError, match="withdrawn"):
        federation.registry.redeem(token, certificate_request(new_key(), "st-mary"), federation.authority)
    with pytest.raises(RegistryError, match="there is no site 'st-marie'"):
        federation.registry.revoke("st-marie")


def test_the_revocation_list_is_what_the_registry_says(federation: Federation) -> None:
    serial = federation.enrol("st-mary", new_key()).serial_number
    federation.enrol("st-paul", new_key())
    federation.registry.revoke("st-mary")
    federation.authority.write_list(federation.registry.revoked())
    listed = x509.load_pem_x509_crl((federation.folder / "ca" / "crl.pem").read_bytes())
    assert [entry.serial_number for entry in listed] == [serial]


def test_a_change_that_takes_long_holds_no_request_up(federation: Federation) -> None:
    key = new_key()
    serial = federation.enrol("st-mary", key).serial_number
    with closing(sqlite3.connect(federation.folder / "registry.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        assert federation.registry.site_of(serial, key.public_key()) is not None
        federation.registry.seen(serial)
        assert time.monotonic() - before < WAIT / 2  # as long as whoever waits would wait
        assert federation.registry.sites()[0].last_seen is None
        other.execute("COMMIT")
    federation.registry.seen(serial)
    assert federation.registry.sites()[0].last_seen == federation.time.now.replace(microsecond=0)


def test_a_full_disk_turns_no_site_away_and_nothing_is_left_of_it_afterwards(federation: Federation) -> None:
    key = new_key()
    serial = federation.enrol("st-mary", key).serial_number
    with full_disk(largest_in(federation.folder)):
        for _ in range(2):
            assert federation.registry.site_of(serial, key.public_key()) is not None
            federation.registry.seen(serial)
            with pytest.raises(BusyError, match="can't be changed now"):
                federation.registry.revoke("st-mary")
    assert federation.registry.sites()[0].last_seen is None
    federation.registry.seen(serial)
    assert federation.registry.sites()[0].last_seen is not None
    federation.registry.revoke("st-mary")
    assert federation.registry.site_of(serial, key.public_key()) is None


# Renewal


def test_renewal_with_the_same_key(federation: Federation) -> None:
    key = new_key()
    first = federation.enrol("st-mary", key)
    federation.time.passes(days=61)
    second = federation.renew(first, key, key)
    assert federation.log.last == ("site-renewed", "st-mary", "")
    assert second.not_valid_after_utc > first.not_valid_after_utc
    federation.registry.seen(second.serial_number)
    assert federation.registry.site_of(first.serial_number, key.public_key()) is not None
    assert federation.registry.sites()[0].serials == (first.serial_number, second.serial_number)


def test_a_new_key_ends_the_old_one_when_it_is_first_used(federation: Federation) -> None:
    old, new = new_key(), new_key()
    first = federation.enrol("st-mary", old)
    second = federation.renew(first, old, new)  # at any time
    federation.registry.seen(first.serial_number)
    assert federation.registry.site_of(first.serial_number, old.public_key()) is not None
    federation.time.passes(minutes=1)
    federation.registry.seen(second.serial_number)
    assert federation.registry.site_of(first.serial_number, old.public_key()) is None
    assert federation.registry.site_of(second.serial_number, new.public_key()) is not None
    with pytest.raises(RefusedError):
        federation.renew(first, old, old)


def test_renewals_that_are_refused(federation: Federation, tmp_path: Path) -> None:
    key = new_key()
    certificate = federation.enrol("st-mary", key)
    other = Authority.create(tmp_path / "other", "lung-eu", "127.0.0.1")
    foreign = other.sign_site(certificate_request(key, "st-mary"), "st-mary")

    def reason(current: x509.Certificate, by: EllipticCurvePrivateKey) -> str:
        with pytest.raises(RefusedError):
            federation.renew(current, by, new_key())
        event, _, said = federation.log.last
        assert event == "renewal-refused"
        return said

    assert reason(certificate, new_key()) == "bad-signature"
    assert reason(foreign, key) == "bad-certificate"
    unknown = federation.authority.sign_site(certificate_request(key, "st-mary"), "st-mary")
    assert reason(unknown, key) == "unknown-certificate"
    federation.registry.revoke("st-mary")
    assert reason(certificate, key) == "revoked"
    federation.time.passes(days=91)
    assert reason(certificate, key) == "bad-certificate"


def renewal(key: EllipticCurvePrivateKey, wanted: EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Return a request and the current key's signature of it."""
    request = certificate_request(wanted, "st-mary")
    return request, key.sign(renewal_statement(request), ECDSA(SHA384()))


def test_a_signed_request_is_good_once_for_as_long_as_its_key(federation: Federation) -> None:
    key = new_key()
    first = federation.enrol("st-mary", key)
    federation.time.passes(days=50)
    request, signature = renewal(key, key)
    second = federation.registry.renew(pem_of(first), request, signature, federation.authority)
    size = (federation.folder / "registry.sqlite").stat().st_size

    def again(current: x509.Certificate, signature: bytes) -> str:
        with pytest.raises(RefusedError):
            federation.registry.renew(pem_of(current), request, signature, federation.authority)
        return federation.log.last[2]

    assert {again(first, signature) for _ in range(50)} == {"used-request"}
    resigned = key.sign(renewal_statement(request), ECDSA(SHA384()))  # another signature, the same request
    assert again(first, resigned) == "used-request"
    federation.time.passes(days=60)  # the first certificate has ended, and its key has not
    federation.renew(second, key, key)
    assert again(second, signature) == "used-request"
    assert len(federation.registry.sites()[0].serials) == 3
    assert (federation.folder / "registry.sqlite").stat().st_size == size


def test_a_renewal_waits_for_half_of_the_certificates_life(federation: Federation) -> None:
    key = new_key()
    certificate = federation.enrol("st-mary", key)
    for days in (0, 44):
        federation.time.passes(days=days)
        with pytest.raises(RefusedError, match="can be renewed from"):
            federation.renew(certificate, key, key)
        assert federation.log.last == ("renewal-refused", "st-mary", "too-early")
    federation.time.passes(days=2)
    federation.renew(certificate, key, key)


def test_a_site_renews_a_few_times_a_day(federation: Federation) -> None:
    key = new_key()
    certificate = federation.enrol("st-mary", key)
    federation.time.passes(days=50)
    for wanted in (key, new_key(), key):  # an answer may be lost on its way, so the old one goes on
        federation.renew(certificate, key, wanted)
    for wanted in (key, new_key()):
        with pytest.raises(RefusedError):
            federation.renew(certificate, key, wanted)
        assert federation.log.last == ("renewal-refused", "st-mary", "too-often")
    federation.time.passes(days=1)
    federation.renew(certificate, key, key)


def test_what_is_remembered_of_renewals_goes_with_their_keys(federation: Federation) -> None:
    old, new = new_key(), new_key()
    first = federation.enrol("st-mary", old)
    second = federation.renew(first, old, new)
    federation.time.passes(days=89)
    third = federation.renew(second, new, new)
    with closing(sqlite3.connect(federation.folder / "registry.sqlite")) as db:
        kept = lambda: db.execute("SELECT count(*) FROM renewal").fetchone()[0]  # noqa: E731
        assert kept() == 2
        federation.time.passes(days=60)
        federation.renew(third, new, new)
        assert kept() == 2, "the request that the first key signed is forgotten with it"


def test_a_registry_from_before_renewals_were_counted_still_opens(federation: Federation) -> None:
    with closing(sqlite3.connect(federation.folder / "registry.sqlite")) as db:
        db.execute("DROP TABLE renewal")
    with closing(Registry(federation.folder / "registry.sqlite", federation.log, federation.time)) as again:
        federation.registry = again
        key = new_key()
        assert federation.renew(federation.enrol("st-mary", key), key, new_key())


def test_a_site_can_not_renew_under_another_name(federation: Federation) -> None:
    key = new_key()
    certificate = federation.enrol("st-mary", key)
    request = certificate_request(key, "st-paul")
    signature = key.sign(renewal_statement(request), ECDSA(SHA384()))
    with pytest.raises(RefusedError, match="not for the site 'st-mary'"):
        federation.registry.renew(pem_of(certificate), request, signature, federation.authority)


# People


def test_people_have_tokens_that_end(federation: Federation) -> None:
    token = federation.registry.add_person("j.smith", "researcher", days=1)
    person = federation.registry.person_of(token)
    assert person is not None
    assert (person.name, person.role) == ("j.smith", "researcher")
    assert federation.registry.person_of(token + "x") is None
    with pytest.raises(RegistryError, match="is there already"):
        federation.registry.add_person("j.smith", "operator")
    federation.time.passes(days=1)
    assert federation.registry.person_of(token) is None
    assert federation.log.entries[-1] == ("token-refused", {"person": "j.smith", "reason": "expired-token"})
    federation.registry.remove_person("j.smith")
    assert federation.registry.people() == []
    with pytest.raises(RegistryError, match="did you mean 'viewer'"):
        federation.registry.add_person("j.smith", "viewr")
    with pytest.raises(RegistryError, match=r"there is no 'j\.smith'"):
        federation.registry.remove_person("j.smith")


def test_no_token_is_kept_or_logged(federation: Federation) -> None:
    tokens = [federation.registry.add_person("j.smith", "viewer"), federation.registry.invite("st-mary")]
    federation.registry.redeem(tokens[1], certificate_request(new_key(), "st-mary"), federation.authority)
    federation.registry.close()
    kept = b"".join(path.read_bytes() for path in federation.folder.glob("registry.sqlite*"))
    for token in tokens:
        assert token.encode() not in kept
        assert token not in json.dumps(federation.log.entries)


# The folder


def test_what_others_may_read(federation: Federation) -> None:
    federation.registry.invite("st-mary")
    open_to_others = {
        str(path.relative_to(federation.folder))
        for path in federation.folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077
    }
    assert open_to_others == {
        "server.toml",
        "server.schema.json",
        "ca/ca.crt",
        "ca/crl.pem",
        "tls/server.crt",
    }
    assert stat.S_IMODE(federation.folder.stat().st_mode) == 0o700


def test_a_folder_is_founded_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="neither a DNS name"):
        found(tmp_path / "fed", ServerTable(name="x", host="not a host"), None)
    with pytest.raises(CredentialError, match="shorter than"):
        found(tmp_path / "fed", ServerTable(name="x", host="a.org"), b"short")
    assert list(tmp_path.iterdir()) == []
    found(tmp_path / "fed", ServerTable(name="x", host="a.org"), None)
    with pytest.raises(FolderError, match="nothing is overwritten"):
        found(tmp_path / "fed", ServerTable(name="x", host="a.org"), None)


def test_the_listeners_certificate_is_renewed_in_time(federation: Federation) -> None:
    path = federation.folder / "tls" / "server.crt"
    first = fingerprint(load_certificate(path))
    assert not renew_server_certificate(federation.folder, federation.authority, "127.0.0.1")
    federation.time.passes(days=250)
    assert renew_server_certificate(federation.folder, federation.authority, "127.0.0.1")
    assert fingerprint(load_certificate(path)) != first


def test_a_foreign_file_is_no_registry(tmp_path: Path, federation: Federation) -> None:
    with pytest.raises(RegistryError, match="can't be opened"):
        Registry(tmp_path / "none.sqlite", federation.log)
    (tmp_path / "text").write_text("hello" * 1000, encoding="utf-8")
    with pytest.raises(RegistryError, match="can't be opened"):
        Registry(tmp_path / "text", federation.log)
    with closing(sqlite3.connect(tmp_path / "future")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RegistryError, match="version 99"):
        Registry(tmp_path / "future", federation.log)


# Backup and restore


def test_a_backup_brings_back_the_federation(federation: Federation, tmp_path: Path) -> None:
    key = new_key()
    serial = federation.enrol("st-mary", key).serial_number
    pending = federation.registry.invite("st-paul")
    (federation.folder / "runs" / "large").write_bytes(b"x")
    file = tmp_path / "backup.tar.gz"
    assert backup(federation.folder, file, federation.log, include_keys=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    restore(file, tmp_path / "new")
    audit = tmp_path / "new" / "audit"
    assert [entry.event for entry in entries(audit)][-1] == "backup-restored"
    assert verify(audit, load_key(tmp_path / "new" / "audit.key").public_key()) == []
    assert load_settings(tmp_path / "new") == load_settings(federation.folder)
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    authority = Authority.open(tmp_path / "new" / "ca")
    assert renew_server_certificate(tmp_path / "new", authority, "127.0.0.1")
    with closing(Registry(tmp_path / "new" / "registry.sqlite", federation.log)) as registry:
        assert registry.site_of(serial, key.public_key()) is not None
        # A token that was used after the backup must not be good again.
        with pytest.raises(RefusedError, match="withdrawn"):
            registry.redeem(pending, certificate_request(new_key(), "st-paul"), authority)
    with pytest.raises(FolderError, match="nothing is overwritten"):
        restore(file, tmp_path / "new")
    with pytest.raises(FolderError, match="exists already"):
        backup(federation.folder, file, federation.log, include_keys=True)


def test_an_open_key_stays_out_of_a_backup(federation: Federation, tmp_path: Path) -> None:
    assert not backup(federation.folder, tmp_path / "plain.tar.gz", federation.log, include_keys=False)
    with tarfile.open(tmp_path / "plain.tar.gz") as archive:
        assert [name for name in archive.getnames() if name.endswith(".key")] == []


def test_an_encrypted_key_is_in_a_backup(tmp_path: Path) -> None:
    found(tmp_path / "fed", ServerTable(name="x", host="a.org"), b"a rather long passphrase")
    assert backup(tmp_path / "fed", tmp_path / "b.tar.gz", Log(), include_keys=False)


def test_a_broken_backup_leaves_nothing(federation: Federation, tmp_path: Path) -> None:
    backup(federation.folder, tmp_path / "whole.tar.gz", federation.log, include_keys=True)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:2000])
    (tmp_path / "none.tar.gz").write_bytes(b"hello")
    for name in ("cut", "none", "missing"):
        with pytest.raises(FolderError):
            restore(tmp_path / f"{name}.tar.gz", tmp_path / "new" / "fed")
    assert not (tmp_path / "new" / "fed").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, target, mode
    return made


WICKED = {
    "above": [member("../outside")],
    "above from below": [member("ca/../../outside")],
    "absolute": [member("/tmp/wardround-outside")],  # noqa: S108
    "a link out and a file through it": [member("ca", tarfile.SYMTYPE, ".."), member("ca/outside")],
    "a link": [member("ca/ca.key", tarfile.SYMTYPE, "/etc/passwd")],
    "a hard link": [member("ca/ca.key", tarfile.LNKTYPE, "/etc/passwd")],
    "a device": [member("ca/ca.key", tarfile.CHRTYPE)],
    "a pipe": [member("ca/ca.key", tarfile.FIFOTYPE)],
    "a folder": [member("ca", tarfile.DIRTYPE)],
    "a file twice": [member("ca/ca.crt"), member("ca/ca.crt")],
    "a file that is a folder": [member("ca"), member("ca/ca.crt")],
    "no name": [member("ca//ca.crt")],
}


@pytest.mark.parametrize("name", WICKED)
def test_a_wicked_backup_leaves_nothing(federation: Federation, tmp_path: Path, name: str) -> None:
    file = tmp_path / "wicked.tar.gz"
    backup(federation.folder, tmp_path / "whole.tar.gz", federation.log, include_keys=True)
    with tarfile.open(tmp_path / "whole.tar.gz") as whole, tarfile.open(file, "w:gz") as archive:
        for good in whole:
            if not good.name.startswith("ca/"):
                archive.addfile(good, whole.extractfile(good))
        for bad in WICKED[name]:
            archive.addfile(bad)
    with pytest.raises(FolderError, match=r"is not a whole backup|can't be restored"):
        restore(file, tmp_path / "new" / "fed")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_was_restored_is_for_its_owner_alone(federation: Federation, tmp_path: Path) -> None:
    (federation.folder / "server.toml").chmod(0o666)
    backup(federation.folder, tmp_path / "b.tar.gz", federation.log, include_keys=True)
    restore(tmp_path / "b.tar.gz", tmp_path / "new")
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        names = archive.getnames()
    for name in (".", "ca", *names):
        assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) & 0o077 == 0, name


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_backup_is_noticed(federation: Federation, tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.tar.gz"
    if not whole.exists():
        backup(federation.folder, whole, federation.log, include_keys=True)
    content = bytearray(whole.read_bytes())
    # Before that is gzip's header, with a time and a name that nobody needs.
    place = data.draw(st.integers(30, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(EOFError, zlib.error, gzip.BadGzipFile):
        # The bits between the last block's end and the next byte mean nothing.
        assume(gzip.decompress(content) != gzip.decompress(whole.read_bytes()))
    (tmp_path / "damaged.tar.gz").write_bytes(content)
    with pytest.raises(WardroundError):
        restore(tmp_path / "damaged.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# The command line


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str, stdin: str = "", **env: str) -> Ended:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            patch.setenv("COLUMNS", "120")
            for name, value in env.items():
                patch.setenv(name, value)
            try:
                main(["server", *arguments])
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


def test_where_nobody_types_a_passphrase_is_made_beside_the_folder(tmp_path: Path, server: Command) -> None:
    made = server("init", "fed", "--name", "lung-eu", "--host", "fed.example.org")
    assert made.returncode == 0
    secret = tmp_path / "fed.passphrase"
    assert f"WARDROUND_CA_PASSPHRASE_FILE={secret}" in made.stdout
    assert secret.stat().st_mode & 0o777 == 0o600
    assert Authority.open(tmp_path / "fed" / "ca", secret.read_bytes().strip())
    assert secret.read_text().strip() not in made.stdout


def test_an_operators_day(tmp_path: Path, server: Command) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("a rather long passphrase\n", encoding="utf-8")
    asked = {"WARDROUND_CA_PASSPHRASE_FILE": str(secret)}
    here = {"WARDROUND_SERVER_DIR": str(tmp_path / "fed")}
    init = ("init", "fed", "--name", "lung-eu", "--host", "fed.example.org")
    assert server(*init, **asked).returncode == 0
    assert b"ENCRYPTED" in (tmp_path / "fed" / "ca" / "ca.key").read_bytes()
    assert server(*init, **asked).returncode == 2

    invited = server("invite", "st-mary", **here)
    join = parse_join(invited.stdout)
    assert (join.site, join.host) == ("st-mary", "fed.example.org")
    assert join.authority == fingerprint(load_certificate(tmp_path / "fed" / "ca" / "ca.crt"))
    assert "invited until" in server("sites", **here).stdout

    key = new_key()
    (tmp_path / "st-mary.csr").write_bytes(certificate_request(key, "st-mary"))
    spoken = key_fingerprint(key.public_key())
    refused = server("sign", "st-mary.csr", "--fingerprint", spoken, **here)
    assert refused.returncode == 2
    assert "needs a passphrase" in refused.stderr
    wrong = server("sign", "st-mary.csr", "--fingerprint", "SHA256:x", **here, **asked)
    assert wrong.returncode == 2
    assert "holds another key" in wrong.stderr
    assert server("sign", "st-mary.csr", stdin="n\n", **here, **asked).returncode == 1
    signed = server("sign", "st-mary.csr", stdin="y\n", **here, **asked)
    assert signed.returncode == 0, signed.stderr
    again = server("sign", "st-mary.csr", "--out", "second.crt", stdin="y\n", **here, **asked)
    assert "no open invitation" in again.stderr
    assert "offline" in server("sites", **here).stdout

    revoked = server("revoke", "st-mary", **here)
    assert revoked.returncode == 0
    assert "was not renewed" in revoked.stderr
    assert "revoked" in server("sites", **here).stdout
    assert server("revoke", "st-mary", **here, **asked).stderr == ""
    listed = x509.load_pem_x509_crl((tmp_path / "fed" / "ca" / "crl.pem").read_bytes())
    assert len(list(listed)) == 1


def test_the_passphrase_is_asked_on_the_terminal_and_not_shown(tmp_path: Path) -> None:
    script = [sys.executable, "-m", "wardround", "server", "init", str(tmp_path / "fed")]
    script += ["--name", "lung-eu", "--host", "fed.example.org"]
    process, terminal = pty.fork()
    if process == 0:
        os.environ["PYTHONPATH"] = str(PROJECT)
        os.environ.pop("WARDROUND_CA_PASSPHRASE_FILE", None)
        os.execv(sys.executable, script)  # noqa: S606
    shown = b""
    for question in (b"key: ", b"again: "):
        while not shown.endswith(question):
            shown += os.read(terminal, 1024)
        os.write(terminal, b"a rather long passphrase\n")
    with suppress(OSError):  # the terminal is gone when the command has ended
        while more := os.read(terminal, 1024):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
    assert b"passphrase\r" not in shown
    assert b"rather long" not in shown
    Authority.open(tmp_path / "fed" / "ca", b"a rather long passphrase")


def test_a_passphrase_is_made_where_its_file_is_not_there(tmp_path: Path, server: Command) -> None:
    secret = tmp_path / "passphrase"
    asked = {"WARDROUND_CA_PASSPHRASE_FILE": str(secret)}
    made = server("init", "fed", "--name", "lung-eu", "--host", "fed.example.org", **asked)
    assert made.returncode == 0
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    passphrase = secret.read_bytes().strip()
    assert len(passphrase) == 32
    assert passphrase.decode() not in made.stdout + made.stderr
    Authority.open(tmp_path / "fed" / "ca", passphrase)


def test_people_by_command(tmp_path: Path, server: Command) -> None:
    made = server("init", "fed", "--name", "lung-eu", "--host", "fed.example.org", "--no-passphrase")
    assert "has no passphrase" in made.stdout
    assert "wardround server invite SITE --dir fed" in made.stdout
    added = server("people", "add", "j.smith", "--role", "operator", "--dir", "fed")
    assert len(added.stdout.split()) == 1
    shown = server("people", "list", "--dir", "fed").stdout
    assert "j.smith" in shown
    assert added.stdout.strip() not in shown
    assert server("people", "remove", "j.smith", "--dir", "fed").returncode == 0
    assert "j.smith" not in server("people", "list", "--dir", "fed").stdout
    assert "wardround login https://fed.example.org:9444 --authority" in added.stderr
    told = server("audit", "show", "--dir", "fed").stdout
    assert [line.split()[2] for line in told.splitlines()] == [
        *("log-started", "federation-founded", "person-added", "person-removed")
    ]
    assert "user=" in told
    assert "whole" in server("audit", "verify", "--dir", "fed").stdout
    lost = server("sites", "--dir", "elsewhere")
    assert lost.returncode == 2
    assert "wardround server init" in lost.stderr
