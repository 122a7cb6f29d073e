"""A signed JSON document with the certificate of whoever signed it, as DSSE has it.

DSSE signs the type of a payload with it, so that a signature for one purpose is none for another
(https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md).
"""

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import Field, ValidationError

from shared.errors import WardroundError
from shared.pki.certificates import (
    UNREADABLE,
    CredentialError,
    check_issued,
    common_name,
    fingerprint,
    public_key_of,
)
from shared.table import Table

SITE, COORDINATOR = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
"""What the certificate of a site, and that of a coordinator, is for."""

Base64 = Annotated[str, Field(max_length=2**26)]


class PassportError(WardroundError):
    """A passport, or a statement in one, that does not hold."""


class Signature(Table):
    """One signature, in base64, with the certificate (DER, base64) of its key."""

    keyid: str = Field(max_length=100)
    sig: str = Field(max_length=400)
    certificate: str = Field(max_length=2**14)


class Envelope(Table):
    """A payload and its signature, as DSSE writes them."""

    payloadType: str = Field(max_length=200)  # noqa: N815 (DSSE's name)
    payload: Base64
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=1)]

    @classmethod
    def seal(
        cls, kind: str, content: Table, key: EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> Self:
        """Sign a document: as canonical JSON, with ECDSA (P-384, SHA-384).

        Args:
            kind: What it is; part of what is signed.
            content: The document.
            key: Signs it.
            certificate: Of the key.

        Raises:
            CredentialError: The certificate is of another key.
        """
        if public_key_of(certificate) != key.public_key():
            raise CredentialError("the certificate does not belong to the key that is to sign")
        payload = canonical(content.model_dump(mode="json"))
        signature = Signature(
            keyid=fingerprint(certificate),
            sig=_text(key.sign(_encoded(kind, payload), ECDSA(SHA384()))),
            certificate=_text(certificate.public_bytes(Encoding.DER)),
        )
        return cls(payloadType=kind, payload=_text(payload), signatures=[signature])

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Read an envelope; nothing is verified.

        Raises:
            PassportError: It is none.
        """
        try:
            envelope = cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise PassportError(f"is not a signed document ({error.errors()[0]['msg']})") from None
        if envelope.text().encode() != (text.encode() if isinstance(text, str) else text):
            raise PassportError("is not a signed document as Wardround writes it")
        return envelope

    def text(self) -> str:
        """Return it as its file has it."""
        return canonical(self.model_dump(mode="json")).decode()

    def opened(
        self, kind: str, authority: x509.Certificate, purpose: x509.ObjectIdentifier, time_of: "TimeOf"
    ) -> tuple[bytes, x509.Certificate]:
        """Return the payload and the certificate of whoever signed it, after checking both.

        Args:
            kind: What the document must be.
            authority: Of the federation.
            purpose: `SITE` or `COORDINATOR`.
            time_of: Says of a payload when it was signed, when the certificate had to be valid.

        Raises:
            PassportError: The document was changed, is another kind, or its certificate is not one of this
                authority, not for this purpose, or had ended.
        """
        [signature] = self.signatures
        payload, signed = _bytes(self.payload), _bytes(signature.sig)
        if self.payloadType != kind:
            raise PassportError("is a signed document of another kind")
        try:
            certificate = x509.load_der_x509_certificate(_bytes(signature.certificate))
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            key = public_key_of(certificate)
        except (*UNREADABLE, x509.ExtensionNotFound, CredentialError):
            raise PassportError("is signed with a certificate that can't be read") from None
        try:
            key.verify(signed, _encoded(kind, payload), ECDSA(SHA384()))
        except InvalidSignature:
            raise PassportError(
                "was changed since it was signed, or is signed with another key than that of its certificate"
            ) from None
        try:
            check_issued(certificate, authority, time_of(payload))
        except CredentialError as error:
            raise PassportError(f"when it was signed, {error.problem}") from None
        if signature.keyid != fingerprint(certificate):
            raise PassportError("names another certificate than the one that it is signed with")
        if purpose not in uses:
            raise PassportError("is signed with a certificate that is for another purpose")
        return payload, certificate


TimeOf = Callable[[bytes], datetime]


def canonical(content: dict[str, Any]) -> bytes:
    """Return JSON with sorted keys and no blanks."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def name_of(certificate: x509.Certificate) -> str:
    """Return the name in a certificate; empty where it has none."""
    return common_name(certificate.subject) or ""


def _encoded(kind: str, payload: bytes) -> bytes:
    """Return what DSSE signs: type and payload, each behind its length."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        content = b""
    if not content or _text(content) != text:
        raise PassportError("is not a signed document (its base64 is damaged)")
    return content
