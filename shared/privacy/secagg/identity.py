"""Who is who: every key of a round is signed with the key of the site's certificate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.pki.certificates import (
    Clock,
    CredentialError,
    check_current,
    check_issued,
    common_name,
    key_fingerprint,
    load_certificate,
    load_key,
    public_key_of,
    utc_now,
)
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.records import KeyMessage


@dataclass(frozen=True)
class Trust:
    """Whom a site believes.

    Attributes:
        authority: The federation's, pinned when the site joined.
        peers: Fingerprints of keys by the site's name, learned without the coordinator. Where there are any,
            no other site is believed, whatever certificate it has: an authority that the coordinator holds
            can then invent no sites.
        clock: Says when it is.
    """

    authority: x509.Certificate
    peers: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = utc_now

    def key_of(self, site: str, certificate: bytes) -> EllipticCurvePublicKey:
        """Return the public key of a site after checking its certificate (DER).

        Raises:
            SecureAggregationError: The certificate is not this site's, not of the authority, or not of the
                key that is pinned.
        """
        try:
            read = _issued(certificate, self.authority)
            check_current(read, self.clock())
            key = public_key_of(read)
        except CredentialError as error:
            raise SecureAggregationError(f"{site}: {error.problem}") from None
        if common_name(read.subject) != site:
            raise SecureAggregationError(f"the certificate of {site} is not a certificate of that site")
        if self.peers and self.peers.get(site) != key_fingerprint(key):
            known = "another key than" if site in self.peers else "a key, and it is not among"
            raise SecureAggregationError(f"{site} has {known} the pinned keys of this site's [peers]")
        return key

    def check(self, message: KeyMessage) -> None:
        """Check that a site has signed its keys.

        Raises:
            SecureAggregationError: Somebody else did, or they were changed on the way.
        """
        key = self.key_of(message.site, message.certificate)
        if not verifies(key, message.signature, message.statement()):
            raise SecureAggregationError(f"the keys of {message.site} are not signed by {message.site}")


@dataclass(frozen=True)
class Identity:
    """A site as it shows itself."""

    site: str
    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def load(cls, site: str, keys: Path) -> Self:
        """Read the identity from a site's folder `keys`.

        Raises:
            CredentialError: A file is missing or can't be used.
        """
        return cls(site, load_key(keys / "site.key"), load_certificate(keys / "site.crt"))

    def signed(self, message: KeyMessage) -> KeyMessage:
        """Return a key message with this site's certificate and signature."""
        message = replace(message, certificate=self.certificate.public_bytes(Encoding.DER))
        return replace(message, signature=self.sign(message.statement()))

    def sign(self, statement: bytes) -> bytes:
        """Sign a statement; its first field says what it is, so that it can't be taken for another."""
        return self.key.sign(statement, ECDSA(SHA384()))


@lru_cache(maxsize=4096)
def _issued(certificate: bytes, authority: x509.Certificate) -> x509.Certificate:
    """Return a site's certificate (DER) that the authority signed; the same ones come in every round.

    Raises:
        CredentialError: It can't be read, is somebody else's or no site's.
    """
    try:
        read = x509.load_der_x509_certificate(certificate)
        uses = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        raise CredentialError("its certificate can't be read") from None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
        raise CredentialError("its certificate is not one of a site")
    check_issued(read, authority, read.not_valid_before_utc)  # whether it is valid now is asked each time
    return read


def verifies(key: EllipticCurvePublicKey, signature: bytes, statement: bytes) -> bool:
    """Say whether a signature is right."""
    try:
        key.verify(signature, statement, ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True
