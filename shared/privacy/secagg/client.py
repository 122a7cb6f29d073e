"""A site's part of one round, as a state machine without input or output.

Stages, each once and in this order: `advertise`, `share`, `open`, `mask`, `agree`, `reveal`. Whatever goes
wrong ends the machine: a site never takes a stage twice. That is what keeps it from giving both shares of
one site.
"""

import secrets
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from shared.privacy.secagg import keys
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import Codec
from shared.privacy.secagg.graph import Plan, Ring, is_safe
from shared.privacy.secagg.identity import Identity, Trust, verifies
from shared.privacy.secagg.limits import LEAST_SITES
from shared.privacy.secagg.masks import add_masks
from shared.privacy.secagg.records import Agreement, Envelopes, Header, KeyMessage, Outcome, Reveal, Roster
from shared.privacy.secagg.shamir import SHARE_BYTES, share_from_bytes, share_to_bytes, split
from shared.privacy.secagg.wire import fixed, name, pack, unpack


class Stage(IntEnum):
    """What a site did last."""

    NEW = 0
    ADVERTISED = 1
    SHARED = 2
    OPENED = 3
    MASKED = 4
    AGREED = 5
    OVER = 6


class SecAggClient:
    """One site in one round.

    Args:
        identity: The site's.
        trust: Whom it believes.
        header: Of the round.
        claims: What it says of itself.
        least: Least number of sites in a sum, by the site's policy and the job.
        secret: 32 random bytes from which all its secrets come; drawn where there are none.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        header: Header,
        claims: Claims,
        *,
        least: int,
        secret: bytes | None = None,
    ) -> None:
        self.header = header
        self.claims = claims
        self._identity = identity
        self._trust = trust
        self._least = max(least, LEAST_SITES)
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._own = keys.Secrets.of(self._secret, header)
        self._stage = Stage.NEW
        self._roster = Roster(())
        self._held: dict[str, bytes] = {}  # two shares of each site that shared: of its mask key, of its seed
        self._outcome = Outcome((), ())

    @property
    def site(self) -> str:
        """Name of the site."""
        return self._identity.site

    @property
    def codec(self) -> Codec:
        """The fixed-point numbers of this round."""
        return Codec(len(self._roster.keys))

    @property
    def roster(self) -> Roster:
        """The keys and claims of all who take part, once they are checked."""
        return self._roster

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites in the sum, once they are agreed."""
        return self._outcome.survivors

    def advertise(self) -> KeyMessage:
        """Return the site's signed keys for this round."""
        with self._stage_from(Stage.NEW, Stage.ADVERTISED):
            return self._identity.signed(
                KeyMessage(
                    self.header,
                    self.site,
                    keys.public_of(self._own.channel),
                    keys.public_of(self._own.mask),
                    keys.commitment_of(self._own.seed, self.header, self.site),
                    self.claims,
                    b"",
                    b"",
                )
            )

    def share(self, roster: Roster) -> Envelopes:
        """Check everybody's keys, and return shares of this site's two secrets for every other site.

        Raises:
            SecureAggregationError: Keys are missing, forged, swapped or of another round, or too few sites
                take part.
        """
        with self._stage_from(Stage.ADVERTISED, Stage.SHARED):
            self._check(roster)
            self._roster = roster
            plan = Plan(len(roster.keys))
            parts = [
                split(int.from_bytes(secret, "big"), plan.threshold, plan.sites)
                for secret in (self._own.mask, self._own.seed)
            ]
            pairs = {
                site: share_to_bytes(of_key) + share_to_bytes(of_seed)
                for site, of_key, of_seed in zip(roster.sites, *parts, strict=True)
            }
            self._held = {self.site: pairs.pop(self.site)}
            return Envelopes(
                tuple(
                    keys.seal(self._own.channel, self.site, other, roster, pair)
                    for other, pair in pairs.items()
                )
            )

    def open(self, inbox: Envelopes) -> None:
        """Open the shares of the others; whoever sent none is not masked with.

        Raises:
            SecureAggregationError: Shares were tampered with, or too few sites sent theirs.
        """
        with self._stage_from(Stage.SHARED, Stage.OPENED):
            for envelope in inbox.envelopes:
                sender = envelope.sender
                if (
                    envelope.recipient != self.site
                    or sender == self.site
                    or sender not in self._roster.by_site
                ):
                    raise SecureAggregationError(
                        f"shares of {sender} for {envelope.recipient} are not for this site"
                    )
                self._held[sender] = keys.unseal(self._own.channel, envelope, self._roster)
            self._require(self._held, "sent shares")

    def mask(self, encoded: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Mask what `codec` made of an update, in place, and return it."""
        with self._stage_from(Stage.OPENED, Stage.MASKED):
            plus = [keys.self_mask_key(self._own.seed, self.header)]
            minus: list[bytes] = []
            for other in sorted(self._ring().neighbours(self.site) & self._held.keys()):
                key = keys.pair_mask_key(self._own.mask, self.site, other, self._roster)
                (plus if self.site < other else minus).append(key)
            add_masks(encoded, plus, minus, self.header.words)
            return encoded

    def agree(self, outcome: Outcome) -> bytes:
        """Sign who is in the sum, if it hides every single update.

        Raises:
            SecureAggregationError: The lists contradict what this site knows, or too few sites would hide
                each other.
        """
        with self._stage_from(Stage.MASKED, Stage.AGREED):
            if outcome.sharing != tuple(sorted(self._held)):
                raise SecureAggregationError(
                    "the coordinator names other sites as sharing than sent their shares here"
                )
            if self.site not in outcome.survivors or not set(outcome.survivors) <= self._held.keys():
                raise SecureAggregationError(
                    "the list of survivors lacks this site, or holds one that sent no shares"
                )
            self._require(outcome.survivors, "are left in the sum")
            if not is_safe(self._ring(), outcome.survivors):
                raise SecureAggregationError(
                    "so many dropped out that a few sites and the coordinator could single an update out"
                )
            self._outcome = outcome
            return self._identity.sign(outcome.statement(self.header, self._roster))

    def reveal(self, agreement: Agreement) -> Reveal:
        """Return shares: of survivors those of the self-mask's seed, of the others those of the mask key.

        Raises:
            SecureAggregationError: Too few survivors have signed the list that this site signed.
        """
        with self._stage_from(Stage.AGREED, Stage.OVER):
            statement = self._outcome.statement(self.header, self._roster)
            for signer, signature in agreement.signatures:
                if signer not in self._outcome.survivors:
                    raise SecureAggregationError(f"{signer} signs the list of survivors, and is none")
                key = self._trust.key_of(signer, self._roster.by_site[signer].certificate)
                if not verifies(key, signature, statement):
                    raise SecureAggregationError(
                        f"{signer} did not sign the list of survivors that this site signed"
                    )
            threshold = Plan(len(self._roster.keys)).threshold
            if len(agreement.signatures) < threshold:
                raise SecureAggregationError(
                    f"{len(agreement.signatures)} sites signed the list of survivors, {threshold} must"
                )
            seeds, of_keys = [], []
            for site, pair in sorted(self._held.items()):
                of_key, of_seed = pair[:SHARE_BYTES], pair[SHARE_BYTES:]
                if site in self._outcome.survivors:
                    seeds.append((site, share_from_bytes(of_seed)))
                else:
                    of_keys.append((site, share_from_bytes(of_key)))
            self._held.clear()
            return Reveal(tuple(seeds), tuple(of_keys))

    _KIND = b"wardround secagg v2: state"

    def to_bytes(self) -> bytes:
        """Return the state between two stages. It holds secrets: it stays at the site, in memory."""
        held = pack(b"held", *(field for site, pair in self._held.items() for field in (site.encode(), pair)))
        return pack(
            self._KIND,
            self.header.to_bytes(),
            self.claims.to_bytes(),
            self._least.to_bytes(4, "big"),
            self._secret,
            bytes([self._stage]),
            self._roster.to_bytes(),
            held,
            self._outcome.to_bytes(),
        )

    @classmethod
    def from_bytes(cls, data: bytes, identity: Identity, trust: Trust) -> "SecAggClient":
        """Go on from a state of this site's own."""
        header, claims, least, secret, stage, roster, held, outcome = unpack(data, cls._KIND)
        client = cls(
            identity,
            trust,
            Header.from_bytes(header),
            Claims.from_bytes(claims),
            least=int.from_bytes(least, "big"),
            secret=fixed(secret, 32),
        )
        client._stage = Stage(stage[0])
        client._roster = Roster.from_bytes(roster)
        fields = unpack(held, b"held")
        client._held = {name(site): pair for site, pair in zip(fields[::2], fields[1::2], strict=True)}
        client._outcome = Outcome.from_bytes(outcome)
        return client

    @contextmanager
    def _stage_from(self, before: Stage, after: Stage) -> Iterator[None]:
        """Do a stage; from the moment it begins nothing else can be done until it has gone well."""
        if self._stage != before:
            wanted, here = before.name.lower(), self._stage.name.lower()
            raise SecureAggregationError(f"the stage after '{wanted}' is asked for, this site is at '{here}'")
        self._stage = Stage.OVER
        yield
        self._stage = after

    def _check(self, roster: Roster) -> None:
        self._require(roster.sites, "sent keys")
        own = roster.by_site.get(self.site)
        if own is None or not self._is_own(own):
            raise SecureAggregationError("this site's own keys are missing, or were swapped")
        for message in roster.keys:
            _check_header(message, self.header)
            self._trust.check(message)
        publics = [public for message in roster.keys for public in (message.channel, message.mask)]
        if len(set(publics)) != len(publics):
            raise SecureAggregationError("two sites have the same key")

    def _is_own(self, message: KeyMessage) -> bool:
        return (message.channel, message.mask, message.claims) == (
            keys.public_of(self._own.channel),
            keys.public_of(self._own.mask),
            self.claims,
        )

    def _require(self, sites: Sized, what: str) -> None:
        count = len(sites)
        least = max(self._least, Plan(len(self._roster.keys)).threshold if self._roster.keys else 0)
        if count < least:
            raise SecureAggregationError(f"{count} sites {what}; this site asks for {least}")

    def _ring(self) -> Ring:
        return Ring(self._roster.sites, self._roster.digest)


def _check_header(message: KeyMessage, header: Header) -> None:
    """Check that a site takes part in the same sum, and was told of the same model."""
    if message.header == header:
        return
    if replace(message.header, context=header.context) == header:
        raise SecureAggregationError(
            f"{message.site} is to work on another model than this site, or with other settings"
        )
    raise SecureAggregationError(f"the keys of {message.site} are of another round or run")
