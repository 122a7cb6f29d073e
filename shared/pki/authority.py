"""The certificate authority of one federation.

Certificates follow RFC 5280: the authority's own certificate lets it sign names of its federation only (name
constraints, section 4.2.1.10), and each certificate that it signs serves one purpose (extended key usage,
section 4.2.1.12).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.pki.certificate_requests import parse_request
from shared.pki.certificates import (
    Clock,
    CredentialError,
    check_issued,
    host_name,
    load_certificate,
    load_key,
    new_key,
    pem_of,
    public_key_of,
    save_key,
    utc_now,
    write_file,
)

AUTHORITY_DAYS = 3650
SITE_DAYS = 90
SERVER_DAYS = 365
LIST_DAYS = 30  # a revocation list says when the next one is due
SKEW = timedelta(minutes=5)  # a certificate counts from a little earlier, for clocks that are behind
SITES_DOMAIN = "wardround.internal"  # .internal never leads anywhere on the public internet
EVERY_ADDRESS = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Signatory(Protocol):
    """Whoever signs for a federation: an `Authority`, or a process that keeps its key."""

    @property
    def certificate(self) -> x509.Certificate:
        """The authority's certificate."""

    @property
    def clock(self) -> Clock:
        """Says when it is."""

    def sign_site(self, request: bytes, site: str, days: int = SITE_DAYS) -> x509.Certificate:
        """Sign a site's request."""

    def sign_server(
        self, key: EllipticCurvePublicKey, host: str, days: int = SERVER_DAYS
    ) -> x509.Certificate:
        """Sign the certificate of the coordinator's listeners."""


@dataclass(frozen=True)
class Authority:
    """A federation's authority with its key in memory.

    Attributes:
        folder: Holds `ca.key` (0600), `ca.crt` and `crl.pem`.
        key: The authority's private key.
        certificate: Its certificate, which signs itself and is pinned by its fingerprint.
        clock: Says when it is.
    """

    folder: Path
    key: EllipticCurvePrivateKey
    certificate: x509.Certificate
    clock: Clock = utc_now

    @classmethod
    def create(
        cls, folder: Path, name: str, host: str, passphrase: bytes | None = None, clock: Clock = utc_now
    ) -> Self:
        """Found an authority for the federation `name` whose coordinator is reached as `host`.

        Raises:
            CredentialError: There is an authority already, `host` is not valid, the passphrase is too short,
                or a file can't be written.
        """
        if (folder / "ca.key").exists():
            raise CredentialError("there is an authority already", where=folder / "ca.key")
        authority = replace(cls.in_memory(new_key(), name, host, clock), folder=folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_key(folder / "ca.key", authority.key, passphrase)
        write_file(folder / "ca.crt", pem_of(authority.certificate), 0o644)
        authority.write_list([])
        return authority

    def renewed(self, host: str) -> Self:
        """Return this authority with a new certificate of the same key, not written yet.

        What it has signed before is valid under both certificates, and so is what it signs for a host that
        both allow.

        Args:
            host: For which it may sign from now on.

        Raises:
            CredentialError: `host` is not valid.
        """
        return replace(self.in_memory(self.key, self.name, host, self.clock), folder=self.folder)

    @classmethod
    def in_memory(cls, key: EllipticCurvePrivateKey, name: str, host: str, clock: Clock = utc_now) -> Self:
        """Make an authority that has no folder, and so no list of revocations.

        Raises:
            CredentialError: `host` is not valid.
        """
        host_name(host)
        start = clock() - SKEW
        subject = _subject(name, f"{name} authority")
        builder = _builder(subject, subject, key.public_key(), start, start + timedelta(days=AUTHORITY_DAYS))
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(_constraints(name, host), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(Path(os.devnull), key, builder.sign(key, hashes.SHA384()), clock)

    @classmethod
    def open(cls, folder: Path, passphrase: bytes | None = None, clock: Clock = utc_now) -> Self:
        """Load an authority.

        Raises:
            CredentialError: A file is missing or broken, the passphrase is wrong, or the authority's time
                is over.
        """
        certificate = load_certificate(folder / "ca.crt")
        key = load_key(folder / "ca.key", passphrase)
        if key.public_key() != public_key_of(certificate):
            raise CredentialError("does not belong to ca.crt", where=folder / "ca.key")
        check_issued(certificate, certificate, clock())
        return cls(folder, key, certificate, clock)

    @property
    def name(self) -> str:
        """Name of the federation."""
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)

    def sign_site(self, request: bytes, site: str, days: int = SITE_DAYS) -> x509.Certificate:
        """Sign a site's request; of the request only its key is taken over.

        Args:
            request: PKCS#10, PEM.
            site: The name that the request must have.
            days: How long the certificate is valid.

        Raises:
            CredentialError: The request is not acceptable (see `parse_request`).
        """
        key = parse_request(request, site)
        address = x509.DNSName(f"{site}.{self.name}.{SITES_DOMAIN}")
        return self._sign(key, site, address, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def sign_server(
        self, key: EllipticCurvePublicKey, host: str, days: int = SERVER_DAYS
    ) -> x509.Certificate:
        """Sign the certificate of the coordinator's listeners.

        Raises:
            CredentialError: `host` is neither a DNS name nor an address.
        """
        return self._sign(key, "coordinator", host_name(host), ExtendedKeyUsageOID.SERVER_AUTH, days)

    def write_list(self, revoked: Iterable[tuple[int, datetime]]) -> None:
        """Write `crl.pem`, the signed list of revoked serial numbers with the time of each revocation.

        Raises:
            CredentialError: The file can't be written.
        """
        now = self.clock()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - SKEW)
            .next_update(now + timedelta(days=LIST_DAYS))
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(self._issuer_key(), critical=False)
        )
        for serial, when in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            builder = builder.add_revoked_certificate(entry)
        signed = builder.sign(self.key, hashes.SHA384())
        write_file(self.folder / "crl.pem", signed.public_bytes(serialization.Encoding.PEM), 0o644)

    def _sign(
        self,
        key: EllipticCurvePublicKey,
        name: str,
        address: x509.GeneralName,
        purpose: x509.ObjectIdentifier,
        days: int,
    ) -> x509.Certificate:
        start = self.clock() - SKEW
        end = min(start + timedelta(days=days), self.certificate.not_valid_after_utc)
        return (
            _builder(_subject(self.name, name), self.certificate.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._issuer_key(), critical=False)
            .sign(self.key, hashes.SHA384())
        )

    def _issuer_key(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def _subject(federation: str, name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation)
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _constraints(federation: str, host: str) -> x509.NameConstraints:
    """Allow subjects of the federation, the host and the sites' names; no other name, no other address."""
    directory = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation)])
    allowed: list[x509.GeneralName] = [
        x509.DirectoryName(directory),
        x509.DNSName(f"{federation}.{SITES_DOMAIN}"),
    ]
    refused: list[x509.GeneralName] | None = None
    name = host_name(host)
    if isinstance(name, x509.IPAddress):
        allowed.append(x509.IPAddress(ip_network(host)))
    else:
        allowed.append(name)
        refused = [x509.IPAddress(network) for network in EVERY_ADDRESS]
    return x509.NameConstraints(allowed, refused)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists, all others sign handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
