"""Who is at the other end of a TLS connection, by the certificate that it showed."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True, slots=True)
class Peer:
    """A site's certificate, parsed once for a connection.

    Attributes:
        serial: Serial number of the certificate.
        public_key: Its key.
        node_key: The same key as Flower's node puts it into a header: base64 of PEM.
        expires: Last moment of its validity.
    """

    serial: int
    public_key: EllipticCurvePublicKey
    node_key: bytes
    expires: datetime

    @classmethod
    def of(cls, der: bytes) -> Self:
        """Read a certificate.

        Raises:
            ValueError: It can't be read, or its key is not on an elliptic curve.
        """
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        if not isinstance(key, EllipticCurvePublicKey):
            raise ValueError("the certificate's key is not on an elliptic curve")  # noqa: TRY004
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(certificate.serial_number, key, base64.b64encode(pem), certificate.not_valid_after_utc)

    @property
    def expired(self) -> bool:
        """Whether the certificate has ended since the handshake."""
        return datetime.now(UTC) > self.expires
