"""Who belongs to the federation: invitations, sites and their certificates, people and their tokens.

Everything is in one SQLite file, which several processes may use at once: each change is one immediate
transaction, so a token that two ask for at the same time is given to one. Of tokens only the SHA-256 is kept.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import SSHPublicKeyTypes, load_ssh_public_key

from server.registry.people import People
from server.registry.projects import assign, leave_all, projects_of, the_only_project
from server.registry.renewals import check_renewal, note_renewal
from server.registry.store import BusyError, RefusedError, RegistryError, as_time, check_name, token_hash
from shared.pki.authority import SITE_DAYS, Signatory
from shared.pki.certificate_requests import parse_request, renewal_statement, requested_name
from shared.pki.certificates import CredentialError, check_issued, openssh, parse_certificates, public_key_of
from shared.text.names import suggestion

INVITATION_HOURS = 72.0
_ASK = "Ask the coordinator's operator for a new one."
SEEN_EVERY = 30  # seconds: how exactly `last_seen` is kept


@dataclass(frozen=True)
class SiteRow:
    """A site as the registry knows it.

    Attributes:
        public_key: Of the newest certificate, in OpenSSH form, as Flower registers nodes.
        keys: Those of all certificates that are not revoked: while a site renews its key there are two.
        serials: Of all certificates, newest last.
        expires: End of the newest certificate.
    """

    name: str
    state: Literal["joined", "revoked"]
    public_key: str
    keys: frozenset[str]
    serials: tuple[int, ...]
    joined: datetime
    expires: datetime
    last_seen: datetime | None


@dataclass(frozen=True)
class Invitation:
    """An invitation that was not used yet."""

    site: str
    expires: datetime


class Registry(People):
    """The registry of one federation: its sites, invitations and people."""

    def invite(self, site: str, hours: float = INVITATION_HOURS, projects: Sequence[str] = ()) -> str:
        """Return a new one-time token for a site; an earlier one that was not used ends.

        Args:
            site: Name of the site.
            hours: For how long the invitation can be used.
            projects: Those that the site belongs to, and no others. Where none is named: those that it
                belonged to before, or the only one.

        Raises:
            RegistryError: The name is not valid, the site has joined already, there is no such project, or it
                is not clear which is meant.
        """
        check_name(site)
        token = secrets.token_urlsafe(32)
        expires = self._now() + round(hours * 3600)
        with self._change() as db:
            row = db.execute("SELECT state FROM site WHERE name = ?", (site,)).fetchone()
            if row and row["state"] == "joined":
                remedy = f"To let it join with a new key: `wardround server revoke {site}`, then invite."
                raise RegistryError(f"the site '{site}' has joined already", remedy=remedy)
            if projects:
                leave_all(db, "site", site)
            own = projects or projects_of(db, "site", site) or the_only_project(db)
            assign(db, "site", site, own)
            db.execute("DELETE FROM invitation WHERE site = ? AND used IS NULL", (site,))
            db.execute("INSERT INTO invitation VALUES (?, ?, ?, NULL)", (token_hash(token), site, expires))
        self._audit("site-invited", site=site)
        return token

    def redeem(
        self, token: str, request: bytes, authority: Signatory, days: int = SITE_DAYS
    ) -> x509.Certificate:
        """Use an invitation once: sign the site's certificate request and let the site in.

        Raises:
            RefusedError: The token is unknown, used or expired, or the request is not acceptable. The
                invitation then stays as it was.
        """
        with self._refusals("enrolment-refused") as fields, self._change() as db:
            row = db.execute("SELECT * FROM invitation WHERE token_hash = ?", (token_hash(token),)).fetchone()
            if row is None:
                raise RefusedError.because(
                    "unknown-token", "this invitation is not known, or was withdrawn", _ASK
                )
            site = fields["site"] = row["site"]
            if row["used"] is not None:
                raise RefusedError.because("used-token", "this invitation was used already", _ASK)
            if row["expires"] <= self._now():
                raise RefusedError.because("expired-invitation", "this invitation has expired", _ASK)
            certificate = self._admit_request(db, site, request, authority, days)
        self._audit("site-enrolled", site=site, serial=_serial(certificate.serial_number))
        return certificate

    def sign(self, request: bytes, authority: Signatory, days: int = SITE_DAYS) -> x509.Certificate:
        """Sign a request that came as a file, on the word of the operator; its site must have been invited.

        Raises:
            RefusedError: The request is not acceptable, or there is no open invitation for its site.
        """
        with self._refusals("enrolment-refused") as fields, self._change() as db:
            site = fields["site"] = requested_name(request)
            row = db.execute(
                "SELECT 1 FROM invitation WHERE site = ? AND used IS NULL AND expires > ?",
                (site, self._now()),
            ).fetchone()
            if row is None:
                raise RefusedError.because(
                    "not-invited", f"there is no open invitation for the site {site!r}"
                )
            certificate = self._admit_request(db, site, request, authority, days)
        self._audit("site-enrolled", site=site, serial=_serial(certificate.serial_number))
        return certificate

    def renew(
        self,
        current: bytes,
        request: bytes,
        signature: bytes,
        authority: Signatory,
        days: int = SITE_DAYS,
    ) -> x509.Certificate:
        """Sign a new certificate for a site that proves that it holds the key of its current one.

        The current certificate goes on until the new one is first used (see `seen`).

        Args:
            current: The current certificate, PEM.
            request: For the same key or a new one, PKCS#10 in PEM form.
            signature: ECDSA with SHA-384 of `renewal_statement(request)` by the current key.
            authority: Signs.
            days: How long the new certificate is valid.

        Raises:
            RefusedError: The current certificate does not admit the site any more, the signature is wrong,
                the request is not acceptable, was used before, or comes too early or too often.
        """
        with self._refusals("renewal-refused") as fields:
            try:
                certificate = parse_certificates(current)[0]
                check_issued(certificate, authority.certificate, self._clock())
                key = public_key_of(certificate)
                key.verify(signature, renewal_statement(request), ECDSA(SHA384()))
            except CredentialError as error:
                raise RefusedError.because("bad-certificate", error.problem) from None
            except InvalidSignature:
                raise RefusedError.because(
                    "bad-signature", "the request is not signed by the current key"
                ) from None
            with self._change() as db:
                site = fields["site"] = self._admitted(db, certificate.serial_number, key)
                check_renewal(db, site, certificate, request, self._now())
                renewed = self._issue(db, site, request, authority, days)
                note_renewal(db, site, certificate, request, self._now())
        self._audit("site-renewed", site=site, serial=_serial(renewed.serial_number))
        return renewed

    def admit(self, serial: int, public_key: EllipticCurvePublicKey) -> SiteRow:
        """Return the site to which a certificate and a key belong; the gateway asks on every request.

        Args:
            serial: Of the TLS certificate that the connection showed.
            public_key: The key with which the request is signed (Flower's node key).

        Raises:
            RefusedError: `reason` is ``unknown-certificate``, ``another-key``, ``revoked`` or ``expired``.
        """
        with self._refusals("certificate-refused", serial=_serial(serial)), self._read() as db:
            return self._site(db, self._admitted(db, serial, public_key))

    def site_of(self, serial: int, public_key: EllipticCurvePublicKey) -> SiteRow | None:
        """Return the site to which a certificate and a key belong, if it is admitted (see `admit`)."""
        try:
            return self.admit(serial, public_key)
        except RefusedError:
            return None

    def seen(self, serial: int) -> None:
        """Note that a site is here, by a certificate that `admit` has let in.

        What the site used before, with another key, ends now. If the registry is busy, or the disk full, this
        is left to the site's next request: nobody waits here.
        """
        now = self._now()
        with self._read() as db:
            row = db.execute(
                "SELECT c.id, c.site, c.public_key, s.last_seen FROM certificate c"
                " JOIN site s ON s.name = c.site WHERE c.serial = ?",
                (_serial(serial),),
            ).fetchone()
        if row is None or (row["last_seen"] or 0) > now - SEEN_EVERY:
            return
        with suppress(BusyError), self._change(wait=0) as db:
            db.execute("UPDATE site SET last_seen = ? WHERE name = ?", (now, row["site"]))
            db.execute(
                "UPDATE certificate SET revoked = ?"
                " WHERE site = ? AND id < ? AND public_key != ? AND revoked IS NULL",
                (now, row["site"], row["id"], row["public_key"]),
            )

    def revoke(self, site: str) -> None:
        """Refuse a site from now on: its certificates, and an invitation that is open.

        Raises:
            RegistryError: There is no such site.
        """
        with self._change() as db:
            invited = db.execute("DELETE FROM invitation WHERE site = ? AND used IS NULL", (site,)).rowcount
            joined = db.execute("UPDATE site SET state = 'revoked' WHERE name = ?", (site,)).rowcount
            db.execute(
                "UPDATE certificate SET revoked = ? WHERE site = ? AND revoked IS NULL", (self._now(), site)
            )
            if not invited and not joined:
                names = [row["name"] for row in db.execute("SELECT name FROM site")]
                raise RegistryError(f"there is no site '{site}'; {suggestion(site, names)}")
        self._audit("site-revoked", site=site)

    def withdraw_invitations(self) -> None:
        """End every invitation that was not used."""
        with self._change() as db:
            db.execute("DELETE FROM invitation WHERE used IS NULL")

    def sites(self) -> list[SiteRow]:
        """Return every site that has joined, revoked ones too, by name."""
        with self._read() as db:
            names = db.execute("SELECT name FROM site ORDER BY name").fetchall()
            return [self._site(db, row["name"]) for row in names]

    def invitations(self) -> list[Invitation]:
        """Return the invitations that can still be used."""
        query = "SELECT site, expires FROM invitation WHERE used IS NULL AND expires > ? ORDER BY site"
        with self._read() as db:
            rows = db.execute(query, (self._now(),)).fetchall()
        return [Invitation(row["site"], as_time(row["expires"])) for row in rows]

    def revoked(self) -> list[tuple[int, datetime]]:
        """Return the serial numbers for the revocation list, with the time of each revocation."""
        query = (
            "SELECT serial, revoked FROM certificate WHERE revoked IS NOT NULL AND expires > ? ORDER BY id"
        )
        with self._read() as db:
            rows = db.execute(query, (self._now(),)).fetchall()
        return [(int(row["serial"], 16), as_time(row["revoked"])) for row in rows]

    def _admit_request(
        self, db: sqlite3.Connection, site: str, request: bytes, authority: Signatory, days: int
    ) -> x509.Certificate:
        """Use up a site's invitation."""
        row = db.execute("SELECT state FROM site WHERE name = ?", (site,)).fetchone()
        if row and row["state"] == "joined":
            raise RefusedError.because("joined-already", f"the site '{site}' has joined already")
        now = self._now()
        db.execute("UPDATE invitation SET used = ? WHERE site = ? AND used IS NULL", (now, site))
        db.execute("DELETE FROM renewal WHERE site = ?", (site,))  # its earlier keys are revoked
        db.execute("INSERT OR IGNORE INTO site VALUES (?, 'joined', ?, NULL)", (site, now))
        db.execute(
            "UPDATE site SET state = 'joined', joined = ?, last_seen = NULL WHERE name = ?", (now, site)
        )
        return self._issue(db, site, request, authority, days)

    def _issue(
        self, db: sqlite3.Connection, site: str, request: bytes, authority: Signatory, days: int
    ) -> x509.Certificate:
        key = openssh(parse_request(request, site))
        query = "SELECT 1 FROM certificate WHERE public_key = ? AND (site != ? OR revoked IS NOT NULL)"
        if db.execute(query, (key, site)).fetchone():
            raise RefusedError.because("used-key", "this key belongs to another site, or was revoked")
        certificate = authority.sign_site(request, site, days)
        db.execute(
            "INSERT INTO certificate (serial, site, public_key, expires) VALUES (?, ?, ?, ?)",
            (
                _serial(certificate.serial_number),
                site,
                key,
                int(certificate.not_valid_after_utc.timestamp()),
            ),
        )
        return certificate

    def _admitted(self, db: sqlite3.Connection, serial: int, public_key: EllipticCurvePublicKey) -> str:
        """Return the name of the site to which a certificate and a key belong."""
        row = db.execute(
            "SELECT c.*, s.state FROM certificate c JOIN site s ON s.name = c.site WHERE c.serial = ?",
            (_serial(serial),),
        ).fetchone()
        if row is None:
            raise RefusedError.because("unknown-certificate", "this certificate is not known here")
        if _key(row["public_key"]) != public_key:
            raise RefusedError.because("another-key", "the certificate belongs to another key")
        if row["revoked"] is not None or row["state"] != "joined":
            raise RefusedError.because("revoked", f"the site '{row['site']}' was revoked, or has a newer key")
        if row["expires"] <= self._now():
            raise RefusedError.because("expired", "the certificate has expired")
        return str(row["site"])

    def _site(self, db: sqlite3.Connection, name: str) -> SiteRow:
        row = db.execute("SELECT * FROM site WHERE name = ?", (name,)).fetchone()
        query = "SELECT serial, public_key, expires, revoked FROM certificate WHERE site = ? ORDER BY id"
        certificates = db.execute(query, (name,)).fetchall()
        newest = certificates[-1]
        return SiteRow(
            name=name,
            state=row["state"],
            public_key=newest["public_key"],
            keys=frozenset(item["public_key"] for item in certificates if item["revoked"] is None),
            serials=tuple(int(item["serial"], 16) for item in certificates),
            joined=as_time(row["joined"]),
            expires=as_time(newest["expires"]),
            last_seen=None if row["last_seen"] is None else as_time(row["last_seen"]),
        )


@lru_cache(
    maxsize=1024
)  # reading a key takes longer than all the rest, and the gateway asks on every request
def _key(openssh_key: str) -> SSHPublicKeyTypes:
    return load_ssh_public_key(openssh_key.encode())


def _serial(serial: int) -> str:
    return f"{serial:x}"
