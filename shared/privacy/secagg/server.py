"""The coordinator's part of one round, as a state machine without input or output.

For each stage: `take_...` what the sites send, one by one; then ask for what goes out to them. A message
that does not fit raises an error and counts as not sent; a stage with too few messages raises one that ends
the round.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from shared.privacy.secagg import keys
from shared.privacy.secagg.claims import Claims, agreed_weights
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import EXTRAS, Codec, Mean
from shared.privacy.secagg.graph import Plan, Ring, is_safe
from shared.privacy.secagg.limits import LEAST_SITES
from shared.privacy.secagg.masks import add_into, add_masks
from shared.privacy.secagg.records import (
    Agreement,
    Envelope,
    Envelopes,
    Header,
    KeyMessage,
    Outcome,
    Reveal,
    Roster,
)
from shared.privacy.secagg.shamir import join, weights


class SecAggServer:
    """One round at the coordinator.

    Args:
        header: Of the round.
        size: Length of the vector that is summed; of statistics, in words.
        least: Least number of sites in a sum.
        extras: Numbers behind the vector; of updates the first of them are `EXTRAS`.
    """

    def __init__(self, header: Header, size: int, least: int = LEAST_SITES, *, extras: int = EXTRAS) -> None:
        self.header = header
        self._least = max(least, LEAST_SITES)
        self._keys: dict[str, KeyMessage] = {}
        self._roster = Roster(())
        self._envelopes: dict[str, dict[str, Envelope]] = {}  # by sender and recipient
        self._masked: set[str] = set()
        self._size = size
        self._sum = np.zeros(size + extras, dtype=np.uint64)
        self._signatures: dict[str, bytes] = {}
        self._reveals: dict[str, Reveal] = {}

    def take_keys(self, site: str, message: KeyMessage) -> None:
        """Take a site's keys; the other sites check their signature.

        Raises:
            SecureAggregationError: They are another site's or of another round.
        """
        if message.site != site or message.header != self.header:
            raise SecureAggregationError("its keys are in another site's name, or of another round")
        self._keys[site] = message

    def roster(self) -> Roster:
        """Return the keys of all, for all.

        Raises:
            SecureAggregationError: Too few sites sent theirs.
        """
        self._require(self._keys, "sent keys")
        self._roster = Roster(tuple(self._keys[site] for site in sorted(self._keys)))
        return self._roster

    def take_shares(self, site: str, shares: Envelopes) -> None:
        """Take the sealed shares that a site made for every other site.

        Raises:
            SecureAggregationError: One is missing, or in another site's name.
        """
        by_recipient = {one.recipient: one for one in shares.envelopes if one.sender == site}
        others = [other for other in self._roster.sites if other != site]
        if list(by_recipient) != others or len(shares.envelopes) != len(others):
            raise SecureAggregationError("its shares are not one for each other site")
        self._envelopes[site] = by_recipient

    def inboxes(self) -> dict[str, Envelopes]:
        """Return the shares for each of the sites that sent theirs.

        Raises:
            SecureAggregationError: Too few sites sent theirs.
        """
        self._require(self._envelopes, "sent shares")
        return {
            site: Envelopes(
                tuple(self._envelopes[sender][site] for sender in self._sharing if sender != site)
            )
            for site in self._sharing
        }

    def take_masked(self, site: str, masked: NDArray[np.uint64]) -> None:
        """Add masked numbers, shape (size + extras,); they are not kept.

        Raises:
            SecureAggregationError: It has another shape, or is the site's second.
        """
        if masked.shape != self._sum.shape or site in self._masked or site not in self._envelopes:
            raise SecureAggregationError("its masked update has the wrong shape, or is not awaited")
        add_into(self._sum, masked, self.header.words)
        self._masked.add(site)

    def outcome(self) -> Outcome:
        """Return who shared and who survived, for the survivors to sign.

        Raises:
            SecureAggregationError: Too few are left for the sum to hide each of them.
        """
        survivors = tuple(sorted(self._masked))
        self._require(survivors, "sent masked updates")
        if not is_safe(self._ring(), survivors):
            raise SecureAggregationError("too many neighbours in the graph of masks dropped out")
        return Outcome(self._sharing, survivors)

    def take_signature(self, site: str, signature: bytes) -> None:
        """Take a survivor's signature of the outcome; the other sites check it."""
        self._signatures[site] = signature

    def agreement(self) -> Agreement:
        """Return the signatures, for those who signed.

        Raises:
            SecureAggregationError: Too few signed.
        """
        self._require(self._signatures, "signed the list of survivors")
        return Agreement(tuple(sorted(self._signatures.items())))

    def take_reveal(self, site: str, reveal: Reveal) -> None:
        """Take a survivor's shares.

        Raises:
            SecureAggregationError: They are not those that were asked for.
        """
        seeds = [name for name, _ in reveal.seeds]
        of_keys = [name for name, _ in reveal.keys]
        if seeds != sorted(self._masked) or of_keys != self._dropped:
            raise SecureAggregationError("its shares are not those that were asked for")
        self._reveals[site] = reveal

    @property
    def roster_claims(self) -> dict[str, Claims]:
        """What all who sent keys claim of themselves, by site."""
        return {key.site: key.claims for key in self._roster.keys}

    @property
    def claims(self) -> dict[str, Claims]:
        """What the sites in the sum claim of themselves, by site."""
        return {site: self._roster.by_site[site].claims for site in sorted(self._masked)}

    def mean(self, largest_share: float = 1.0) -> Mean:
        """Take all masks off a sum of updates and return the mean; the sum is used up.

        Args:
            largest_share: To which the weights that sites claim are cut down.

        Raises:
            SecureAggregationError: Too few sites revealed shares, a share is wrong, or the sum has another
                weight than the sites in it claim.
        """
        mean = Codec(len(self._roster.keys)).decode(self.total()[: self._size + EXTRAS])
        agreed = agreed_weights(self.roster_claims, largest_share)
        claimed = sum(agreed[site] for site in self._masked)
        if mean.weight != claimed:
            raise SecureAggregationError(
                f"the sum has a weight of {mean.weight}, and its sites claim {claimed}: a site sent "
                "something else than it signed"
            )
        return mean

    @property
    def unmasked(self) -> NDArray[np.uint64]:
        """The sum, shape (size + extras,), once its masks were taken off."""
        return self._sum

    def total(self) -> NDArray[np.uint64]:
        """Take all masks off the sum and return it, shape (size + extras,); it is used up.

        Raises:
            SecureAggregationError: Too few sites revealed shares, or a share is wrong.
        """
        self._require(self._reveals, "revealed shares")
        helpers = sorted(self._reveals)[: self._threshold]
        lagrange = weights([self._roster.point(site) for site in helpers])
        seeds = self._joined([dict(self._reveals[site].seeds) for site in helpers], lagrange)
        private = self._joined([dict(self._reveals[site].keys) for site in helpers], lagrange)
        plus: list[bytes] = []
        minus = [self._self_mask(site, seed) for site, seed in seeds.items()]
        ring = self._ring()
        for dropped, key in private.items():
            if keys.public_of(key) != self._roster.by_site[dropped].mask:
                raise _wrong_shares(dropped)
            for site in sorted(ring.neighbours(dropped) & self._masked):
                # What the survivor added is taken off, and what it took off is added.
                mask = keys.pair_mask_key(key, dropped, site, self._roster)
                (minus if site < dropped else plus).append(mask)
        add_masks(self._sum, plus, minus, self.header.words)
        return self._sum

    def _self_mask(self, site: str, seed: bytes) -> bytes:
        if keys.commitment_of(seed, self.header, site) != self._roster.by_site[site].commitment:
            raise _wrong_shares(site)
        return keys.self_mask_key(seed, self.header)

    def _joined(self, shares: list[dict[str, int]], lagrange: list[int]) -> dict[str, bytes]:
        """Return the secret of each site from the shares of each helper."""
        found = {}
        for site in shares[0]:
            secret = join([of_helper[site] for of_helper in shares], lagrange)
            if secret >> 256:
                raise _wrong_shares(site)
            found[site] = secret.to_bytes(32, "big")
        return found

    @property
    def _sharing(self) -> tuple[str, ...]:
        return tuple(sorted(self._envelopes))

    @property
    def _dropped(self) -> list[str]:
        return [site for site in self._sharing if site not in self._masked]

    @property
    def _threshold(self) -> int:
        return Plan(len(self._roster.keys)).threshold if self._roster.keys else 0

    def _require(self, sites: Collection[str], what: str) -> None:
        least = max(self._least, self._threshold)
        if len(sites) < least:
            raise SecureAggregationError(f"{len(sites)} sites {what}, {least} must")

    def _ring(self) -> Ring:
        return Ring(self._roster.sites, self._roster.digest)


def _wrong_shares(site: str) -> SecureAggregationError:
    return SecureAggregationError(
        f"the shares of {site} do not fit together: a site made or sent a wrong one"
    )
