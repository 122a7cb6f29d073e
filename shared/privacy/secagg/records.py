"""What sites and coordinator send each other: small dataclasses, to bytes and back, strictly parsed.

The masked update itself is an array and travels as one.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.limits import MOST_SITES
from shared.privacy.secagg.shamir import SHARE_BYTES, share_from_bytes, share_to_bytes
from shared.privacy.secagg.wide import WORDS
from shared.privacy.secagg.wire import at_most, fixed, in_order, name, names, pack, unpack

TRAIN, VALIDATION, TEST, STATISTICS = "train", "val", "test", "statistics"
PHASES = (TRAIN, VALIDATION, TEST, STATISTICS)
DIGEST = 32  # bytes of SHA-256, of a session, of an X25519 key, of a seed
LONGEST_CERTIFICATE = 4096  # bytes, DER
LONGEST_SIGNATURE = 128  # bytes of an ECDSA signature by a P-384 key, DER
SEALED_BYTES = 2 * SHARE_BYTES + 16  # two shares and the tag of ChaCha20-Poly1305


def side_of(phase: str) -> str:
    """Return the side of the split whose patients are behind a sum."""
    return TRAIN if phase == STATISTICS else phase


@dataclass(frozen=True)
class Header:
    """Which sum of which run: part of every key, signature and seal.

    Attributes:
        job: SHA-256 of the job's canonical JSON.
        round: From 1; 0 for statistics.
        session: 32 bytes that the coordinator draws for each attempt at a sum.
        phase: What is summed: one of `PHASES`.
        context: SHA-256 of the model and all else that the computation takes from the coordinator
            (`shared.privacy.secagg.context`).
    """

    job: bytes
    round: int
    session: bytes
    phase: str
    context: bytes

    @property
    def words(self) -> int:
        """Of how many numbers of 64 bits a number of the sum consists."""
        return WORDS if self.phase == STATISTICS else 1

    def to_bytes(self) -> bytes:
        """Return the header as bytes."""
        numbers = struct.pack(">IB", self.round, PHASES.index(self.phase))
        return self.job + numbers + self.session + self.context

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a header.

        Raises:
            SecureAggregationError: It has another length, or names no phase.
        """
        data = fixed(data, 3 * DIGEST + 5)
        round_, phase = struct.unpack(">IB", data[DIGEST : -2 * DIGEST])
        if phase >= len(PHASES):
            raise SecureAggregationError("a round of the secure aggregation names no phase")
        return cls(data[:DIGEST], round_, data[-2 * DIGEST : -DIGEST], PHASES[phase], data[-DIGEST:])


@dataclass(frozen=True)
class KeyMessage:
    """A site's keys for one round, signed with the key of its certificate.

    Attributes:
        header: Of the round.
        site: Name of the site.
        channel: X25519 public key by which shares are sealed.
        mask: X25519 public key by which masks are agreed.
        commitment: SHA-256 by which a reconstructed seed of the self-mask is known to be the right one.
        claims: What the site says of itself.
        certificate: The site's, DER.
        signature: ECDSA with SHA-384 of `statement()`.
    """

    header: Header
    site: str
    channel: bytes
    mask: bytes
    commitment: bytes
    claims: Claims
    certificate: bytes
    signature: bytes

    _KIND = b"wardround secagg v2: keys"

    def statement(self) -> bytes:
        """Return what is signed."""
        return pack(
            self._KIND,
            self.header.to_bytes(),
            self.site.encode(),
            self.channel,
            self.mask,
            self.commitment,
            self.claims.to_bytes(),
            self.certificate,
        )

    def to_bytes(self) -> bytes:
        """Return the message as bytes."""
        return self.statement() + pack(self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a message; the signature is not checked.

        Raises:
            SecureAggregationError: It is no such message.
        """
        fields = _counted(unpack(data, cls._KIND), 8)
        return cls(
            Header.from_bytes(fields[0]),
            name(fields[1]),
            fixed(fields[2], DIGEST),
            fixed(fields[3], DIGEST),
            fixed(fields[4], DIGEST),
            Claims.from_bytes(fields[5]),
            at_most(fields[6], LONGEST_CERTIFICATE),
            at_most(fields[7], LONGEST_SIGNATURE),
        )


@dataclass(frozen=True)
class Roster:
    """The key messages of all who take part, in the order of their names."""

    keys: tuple[KeyMessage, ...]

    _KIND = b"wardround secagg v2: roster"

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(key.site for key in self.keys)

    @cached_property
    def by_site(self) -> dict[str, KeyMessage]:
        """The key message of each site."""
        return {key.site: key for key in self.keys}

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what all sites have signed."""
        return hashlib.sha256(pack(self._KIND, *(key.statement() for key in self.keys))).digest()

    def point(self, site: str) -> int:
        """Return the point at which a site holds its shares, from 1."""
        return self.sites.index(site) + 1

    def to_bytes(self) -> bytes:
        """Return the roster as bytes."""
        return pack(self._KIND, *(key.to_bytes() for key in self.keys))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse a roster; signatures are not checked.

        Raises:
            SecureAggregationError: It is not a roster, has too many sites, or they are not in order.
        """
        fields = unpack(data, cls._KIND)
        if len(fields) > MOST_SITES:
            raise SecureAggregationError(f"a roster of {len(fields)} sites; the most are {MOST_SITES}")
        roster = cls(tuple(KeyMessage.from_bytes(field) for field in fields))
        in_order(roster.sites)
        return roster


@dataclass(frozen=True)
class Envelope:
    """A site's two shares for another site, sealed."""

    sender: str
    recipient: str
    sealed: bytes


@dataclass(frozen=True)
class Envelopes:
    """All envelopes that a site sends, or all that it gets."""

    envelopes: tuple[Envelope, ...]

    _KIND = b"wardround secagg v2: shares"

    def to_bytes(self) -> bytes:
        """Return the envelopes as bytes."""
        parts = [(one.sender.encode(), one.recipient.encode(), one.sealed) for one in self.envelopes]
        return pack(self._KIND, *(field for part in parts for field in part))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse envelopes, which stay sealed.

        Raises:
            SecureAggregationError: They are no such message, too many, or in no order.
        """
        fields = unpack(data, cls._KIND)
        if len(fields) % 3 or len(fields) > 3 * MOST_SITES:
            raise SecureAggregationError("a message with shares has the wrong number of fields")
        found = tuple(
            Envelope(name(sender), name(recipient), fixed(sealed, SEALED_BYTES))
            for sender, recipient, sealed in zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        )
        pairs = [(one.sender, one.recipient) for one in found]
        if pairs != sorted(set(pairs)):
            raise SecureAggregationError("shares are not in order, or some appear twice")
        return cls(found)


@dataclass(frozen=True)
class Outcome:
    """Who shared its seeds, and who of them sent a masked update too: the survivors."""

    sharing: tuple[str, ...]
    survivors: tuple[str, ...]

    _KIND = b"wardround secagg v2: survivors"

    def statement(self, header: Header, roster: Roster) -> bytes:
        """Return what every survivor signs."""
        return pack(self._KIND, header.to_bytes(), roster.digest, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the lists as bytes."""
        lists = (pack(*(site.encode() for site in sites)) for sites in (self.sharing, self.survivors))
        return pack(self._KIND, *(pack(b"sites") + part for part in lists))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the two lists.

        Raises:
            SecureAggregationError: They are no such message, or not in order.
        """
        sharing, survivors = (names(unpack(part, b"sites")) for part in _counted(unpack(data, cls._KIND), 2))
        return cls(sharing, survivors)


@dataclass(frozen=True)
class Agreement:
    """Signatures of the same `Outcome` by sites, in the order of their names."""

    signatures: tuple[tuple[str, bytes], ...]

    _KIND = b"wardround secagg v2: agreement"

    def to_bytes(self) -> bytes:
        """Return the signatures as bytes."""
        return pack(self._KIND, *(field for site, sign in self.signatures for field in (site.encode(), sign)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse signatures, unchecked.

        Raises:
            SecureAggregationError: They are no such message, or not in order.
        """
        fields = unpack(data, cls._KIND)
        if len(fields) % 2:
            raise SecureAggregationError("a message with signatures has the wrong number of fields")
        signers = names(fields[::2])
        signatures = (at_most(field, LONGEST_SIGNATURE) for field in fields[1::2])
        return cls(tuple(zip(signers, signatures, strict=True)))


@dataclass(frozen=True)
class Reveal:
    """The shares that a survivor gives: of survivors the self-mask's seed, of the others the mask key.

    Attributes:
        seeds: Share of the seed of each survivor, in the order of names.
        keys: Share of the mask key of each site that dropped out, in the order of names.
    """

    seeds: tuple[tuple[str, int], ...]
    keys: tuple[tuple[str, int], ...]

    _KIND = b"wardround secagg v2: reveal"

    def to_bytes(self) -> bytes:
        """Return the shares as bytes."""
        parts = []
        for shares in (self.seeds, self.keys):
            fields = [field for site, share in shares for field in (site.encode(), share_to_bytes(share))]
            parts.append(pack(b"shares", *fields))
        return pack(self._KIND, *parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse shares.

        Raises:
            SecureAggregationError: They are no such message, in no order, or no shares.
        """
        seeds, keys = (_shares(unpack(part, b"shares")) for part in _counted(unpack(data, cls._KIND), 2))
        return cls(seeds, keys)


def _shares(fields: list[bytes]) -> tuple[tuple[str, int], ...]:
    if len(fields) % 2:
        raise SecureAggregationError("a message with shares has the wrong number of fields")
    sites = names(fields[::2])
    try:
        return tuple(zip(sites, map(share_from_bytes, fields[1::2]), strict=True))
    except ValueError as error:
        raise SecureAggregationError(str(error)) from None


def _counted(fields: list[bytes], count: int) -> list[bytes]:
    if len(fields) != count:
        raise SecureAggregationError(f"a message has {len(fields)} fields instead of {count}")
    return fields
