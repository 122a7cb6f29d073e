"""Keys, certificate requests, certificates and TLS contexts of a federation.

Every key is EC P-384, because Flower signs node authentication with the key of the site's TLS certificate.
Whoever signs certificates is in `shared/pki/authority.py`.
"""

import base64
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.x509.oid import NameOID

from shared.errors import WardroundError
from shared.files import PRIVATE, replace_file, writing_remedy

Clock = Callable[[], datetime]
LEAST_PASSPHRASE = 14  # characters: PKCS#8 as `cryptography` writes it slows a guess down only a little
HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a certificate or request that is malformed, when it is read or later."""


class CredentialError(WardroundError):
    """A key, request or certificate that can't be used."""


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def new_key() -> EllipticCurvePrivateKey:
    """Return a new EC P-384 key."""
    return generate_private_key(SECP384R1())


def write_file(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Replace a file by new content with these rights, on the disk before this returns.

    Raises:
        CredentialError: It can't be written; the old file is as it was.
    """
    try:
        replace_file(path, content, mode)
    except OSError as error:
        problem = f"can't be written ({error.strerror})"
        raise CredentialError(problem, where=path, remedy=writing_remedy(error)) from None


def save_key(path: Path, key: EllipticCurvePrivateKey, passphrase: bytes | None = None) -> None:
    """Write a private key as PKCS#8 PEM with mode 0600, encrypted if there is a passphrase.

    Raises:
        CredentialError: The passphrase is too short, or the file can't be written.
    """
    if passphrase is not None and len(passphrase) < LEAST_PASSPHRASE:
        raise CredentialError(f"the passphrase is shorter than {LEAST_PASSPHRASE} characters", where=path)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_file(path, pem)


def is_encrypted(path: Path) -> bool:
    """Say if a key file needs a passphrase."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in _read(path)


def load_key(path: Path, passphrase: bytes | None = None) -> EllipticCurvePrivateKey:
    """Read a private key.

    Raises:
        CredentialError: It is missing, open to other users, not EC P-384, or the passphrase is wrong.
    """
    pem = _read(path)
    if path.stat().st_mode & 0o027:
        raise CredentialError("other users may use this key", where=path, remedy=f"chmod 600 {path}")
    if passphrase is not None and not is_encrypted(path):
        passphrase = None  # a key without a passphrase opens without one
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        raise CredentialError("is encrypted, and there is no passphrase", where=path) from None
    except (ValueError, UnsupportedAlgorithm):
        problem = (
            "is not a private key in PEM form" if passphrase is None else "does not open: wrong passphrase?"
        )
        raise CredentialError(problem, where=path) from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise CredentialError("is not an EC P-384 key", where=path)
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialError(f"can't be read ({error.strerror})", where=path) from None


def openssh(key: EllipticCurvePublicKey) -> str:
    """Return a public key as ``ecdsa-sha2-nistp384 AAAA...``, the form in which Flower registers nodes."""
    form = serialization.PublicFormat.OpenSSH
    return key.public_bytes(serialization.Encoding.OpenSSH, form).decode("ascii")


def key_fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return ``SHA256:...`` of a public key, as ``ssh-keygen -l`` shows it: fit for the telephone."""
    blob = base64.b64decode(openssh(key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate, 64 hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def pem_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM form."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def parse_certificates(pem: bytes, where: object = None) -> list[x509.Certificate]:
    """Return every certificate of a PEM text; at least one.

    Raises:
        CredentialError: It is something else.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE:
        raise CredentialError("is not a certificate in PEM form", where=where) from None


def load_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a file.

    Raises:
        CredentialError: The file is missing or is something else.
    """
    return parse_certificates(_read(path), path)[0]


def public_key_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> EllipticCurvePublicKey:
    """Return the public key of a certificate or request.

    Raises:
        CredentialError: It is not EC P-384.
    """
    try:
        key = holder.public_key()
    except UNREADABLE:
        raise CredentialError("its public key can't be read") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise CredentialError("its key is not EC P-384")
    return key


def common_name(name: x509.Name) -> str | None:
    """Return the common name of a subject that has exactly one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else None


def renewal_due(certificate: x509.Certificate) -> datetime:
    """Return the moment from which only a third of a certificate's life is left."""
    end = certificate.not_valid_after_utc
    return end - (end - certificate.not_valid_before_utc) / 3


def needs_renewal(certificate: x509.Certificate, now: datetime) -> bool:
    """Say if less than a third of a certificate's life is left."""
    return now > renewal_due(certificate)


def check_issued(certificate: x509.Certificate, authority: x509.Certificate, now: datetime) -> None:
    """Check that an authority signed a certificate, and that it is valid now.

    Raises:
        CredentialError: It did not, or the certificate is not valid yet or any more.
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except UNREADABLE:
        raise CredentialError("the certificate is not signed by this federation's authority") from None
    check_current(certificate, now)


def check_current(certificate: x509.Certificate, now: datetime) -> None:
    """Check that a certificate is valid now.

    Raises:
        CredentialError: It is not valid yet or any more.
    """
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise CredentialError(
            f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d} only",
            remedy="Is this machine's clock right?",
        )


def host_name(host: str) -> x509.GeneralName:
    """Return a DNS name or IP address as a certificate holds it.

    Raises:
        CredentialError: It is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not HOST.fullmatch(host):
        raise CredentialError(f"'{host}' is neither a DNS name in lower case nor an IP address")
    return x509.DNSName(host)


def serves(certificate: x509.Certificate, host: str) -> bool:
    """Say whether a listener's certificate is for a host."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return host_name(host) in names


def may_sign_for(authority: x509.Certificate, host: str) -> bool:
    """Say whether an authority's certificate lets it sign for a host."""
    allowed = (
        authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or ()
    )
    name = host_name(host)
    if isinstance(name, x509.IPAddress):
        name = x509.IPAddress(ipaddress.ip_network(host))
    return name in allowed


def is_renewed(newer: x509.Certificate, known: x509.Certificate, now: datetime) -> bool:
    """Say whether a certificate is a newer one of the same authority: signed by the key that is known."""
    try:
        check_issued(newer, known, now)
        is_same = newer.subject == known.subject and public_key_of(newer) == public_key_of(known)
    except CredentialError:
        return False
    return is_same and newer.not_valid_before_utc > known.not_valid_before_utc


def pinned_context(authority: x509.Certificate) -> ssl.SSLContext:
    """Return a client's TLS 1.3 context that trusts one authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=pem_of(authority).decode("ascii"))
    return context


def client_context(folder: Path) -> ssl.SSLContext:
    """Return a site's TLS 1.3 context: its certificate, and trust in its federation's authority alone.

    Args:
        folder: The site's folder `keys`, with `site.key`, `site.crt` and `ca.crt`.

    Raises:
        CredentialError: A file is missing or can't be used.
    """
    certificate = folder / "site.crt"
    if not certificate.exists():
        remedy = "Has this site joined? If not: `wardround client enrol`."
        raise CredentialError("can't be read (it is not there)", where=certificate, remedy=remedy)
    load_key(folder / "site.key")
    context = pinned_context(load_certificate(folder / "ca.crt"))
    _load_pair(context, certificate, folder / "site.key")
    return context


def server_context(folder: Path, *, sites: bool) -> ssl.SSLContext:
    """Return a listener's TLS 1.3 context.

    Args:
        folder: The coordinator's folder, with `tls/` and `ca/`.
        sites: Require a certificate of this federation's authority, as sites have it.

    Raises:
        CredentialError: A file is missing or can't be used.
    """
    load_key(folder / "tls" / "server.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    _load_pair(context, folder / "tls" / "server.crt", folder / "tls" / "server.key")
    if sites:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(
            cadata=pem_of(load_certificate(folder / "ca" / "ca.crt")).decode("ascii")
        )
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError:
        raise CredentialError(f"does not belong to the key {key.name}", where=certificate) from None
    except OSError as error:
        raise CredentialError(f"can't be read ({error.strerror})", where=certificate) from None
