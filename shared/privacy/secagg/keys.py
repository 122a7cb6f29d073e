"""The secrets of a round and what is agreed with them: X25519 (RFC 7748), HKDF (RFC 5869), ChaCha20-Poly1305.

All of a site's own secrets come from one seed, by HKDF with a label each. Every key is bound to the round by
its header or to the roster by its digest: nothing of one round opens anything of another.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.masks import KEY_BYTES
from shared.privacy.secagg.records import Envelope, Header, Roster
from shared.privacy.secagg.shamir import SHARE_BYTES
from shared.privacy.secagg.wire import pack

_NONCE = bytes(12)  # each key seals one envelope


def derive(secret: bytes, label: bytes, context: bytes, *names: str, length: int = 32) -> bytes:
    """Return a key that is bound to a purpose, to a round or roster, and to sites."""
    info = pack(b"wardround secagg v2", label, *(name.encode() for name in names))
    return HKDF(SHA256(), length, salt=context, info=info).derive(secret)


@dataclass(frozen=True)
class Secrets:
    """A site's own secrets of one round.

    Attributes:
        channel: X25519 private key by which shares are sealed.
        mask: X25519 private key by which masks are agreed; shared among the sites.
        seed: Of the self-mask; shared among the sites.
    """

    channel: bytes
    mask: bytes
    seed: bytes

    @classmethod
    def of(cls, secret: bytes, header: Header) -> "Secrets":
        """Derive the secrets from 32 random bytes."""
        context = header.to_bytes()
        return cls(
            *(derive(secret, label, context) for label in (b"channel key", b"mask key", b"self-mask seed"))
        )


def public_of(private: bytes) -> bytes:
    """Return the public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def commitment_of(seed: bytes, header: Header, site: str) -> bytes:
    """Return the digest by which a site commits to the seed of its self-mask."""
    return hashlib.sha256(pack(b"wardround secagg v2: seed", header.to_bytes(), site.encode(), seed)).digest()


def self_mask_key(seed: bytes, header: Header) -> bytes:
    """Return the key of the stream that hides a site's update from those who know all pairwise masks."""
    return derive(seed, b"self-mask stream", header.to_bytes(), length=KEY_BYTES)


def pair_mask_key(private: bytes, site: str, other: str, roster: Roster) -> bytes:
    """Return the key of the stream that two sites share.

    Args:
        private: The mask key of `site`.
        site: Whose key it is.
        other: Whose public key the roster gives.
        roster: The round's.

    Raises:
        SecureAggregationError: The public key is one that gives no secret.
    """
    shared = _agree(private, roster.by_site[other].mask, other)
    return derive(shared, b"pair mask stream", roster.digest, *sorted((site, other)), length=KEY_BYTES)


def seal(private: bytes, sender: str, recipient: str, roster: Roster, shares: bytes) -> Envelope:
    """Seal the two shares that a site sends to another.

    Raises:
        SecureAggregationError: The recipient's public key is one that gives no secret.
    """
    key = _channel_key(private, sender, recipient, recipient, roster)
    return Envelope(sender, recipient, ChaCha20Poly1305(key).encrypt(_NONCE, shares, None))


def unseal(private: bytes, envelope: Envelope, roster: Roster) -> bytes:
    """Open an envelope and return its two shares.

    Raises:
        SecureAggregationError: It was changed on the way, or is of another round, roster or pair of sites.
    """
    sender = envelope.sender
    key = _channel_key(private, sender, envelope.recipient, sender, roster)
    try:
        shares = ChaCha20Poly1305(key).decrypt(_NONCE, envelope.sealed, None)
    except InvalidTag:
        raise SecureAggregationError(
            f"the shares of {sender} were changed on the way, or it was shown other keys than this site"
        ) from None
    assert len(shares) == 2 * SHARE_BYTES  # noqa: S101 (the parser knows the length of the ciphertext)
    return shares


def _channel_key(private: bytes, sender: str, recipient: str, other: str, roster: Roster) -> bytes:
    """Return the key for one direction between two sites."""
    shared = _agree(private, roster.by_site[other].channel, other)
    return derive(shared, b"shares", roster.digest, sender, recipient)


def _agree(private: bytes, public: bytes, other: str) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:  # a point of low order: the secret would be zero
        raise SecureAggregationError(f"a public key of {other} gives no secret") from None
