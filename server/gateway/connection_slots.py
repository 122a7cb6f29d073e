"""Who keeps a place at a listener when more come than it has places for.

Nobody is turned away at the door, since who comes can't be judged yet: a stranger who is there already makes
room. Who has shown who they are (a certificate, or a valid token with the last request) is never sent away,
up to three quarters of the places.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.folder.limits import Limits
from server.gateway.address_groups import block_of, network_of

_KEPT = 0.75  # of the places, for those who are known
_RIPE_S = 2.0  # who came later is likely to be about to say who they are


def _less(counts: Counter[Any], key: Any) -> None:
    """Count one less, and forget a key at zero."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


@dataclass(eq=False, slots=True)
class Place:
    """The place of one connection.

    Attributes:
        network: Where it comes from.
        block: The larger network around that.
        since: When it came, or its last request was answered; bytes that drip in do not count.
        drop: Ends the connection.
        owner: Who has shown who they are, while they have no more places than they may have.
        is_open: Its handshake is done.
        is_kept: It is not taken away.
        is_left: It is free again.
    """

    network: str
    block: str
    since: float
    drop: Callable[[], object] = field(default=lambda: None)
    owner: bytes | None = None
    is_open: bool = False
    is_kept: bool = False
    is_left: bool = False


class Places:
    """The places of one listener.

    Args:
        limits: How many there are, in all and for each.
        shed: Told the network of each stranger who is sent away.
        clock: Seconds that only grow.
    """

    def __init__(
        self, limits: Limits, shed: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self._shed = shed
        self._clock = clock
        self._taken: set[Place] = set()
        self._shaking: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()  # of those that are open
        self._owned: Counter[bytes] = Counter()
        self._kept = 0

    def take(self, address: str) -> Place:
        """Give a place to a connection that begins its handshake; its `drop` must be set next."""
        place = Place(network_of(address), block_of(address), self._clock())
        if self._shaking[place.network] >= self.limits.handshakes_each:
            self._send_away(lambda other: other.network == place.network and not other.is_open)
        if len(self._taken) >= self.limits.connections:
            self.make_room()
        self._taken.add(place)
        self._shaking[place.network] += 1
        return place

    def open(self, place: Place) -> None:
        """Note that a handshake is done."""
        _less(self._shaking, place.network)
        place.is_open = True
        self._strangers[place.network] += 1
        if self._strangers[place.network] > self.limits.connections_each:
            self._send_away(
                lambda other: (
                    other.network == place.network
                    and other.is_open
                    and other.owner is None
                    and other is not place
                )
            )

    def claim(self, place: Place, owner: bytes | None) -> bool:
        """Note who is at the other end, None for nobody known; False when they have too many places.

        Who has too many is a stranger with this one.
        """
        if place.is_left or place.owner == owner:
            return True
        self._disown(place)
        if owner is None:
            return True
        if self._owned[owner] >= self.limits.connections_each:
            return False
        place.owner = owner
        self._owned[owner] += 1
        _less(self._strangers, place.network)
        self._keep(place)
        return True

    def answered(self, place: Place) -> None:
        """Note that a request was answered."""
        place.since = self._clock()
        if not place.is_left:
            self._keep(place)

    def leave(self, place: Place) -> None:
        """Free a place; once more does nothing."""
        if place.is_left:
            return
        self._disown(place)
        place.is_left = True
        self._taken.discard(place)
        _less(self._strangers if place.is_open else self._shaking, place.network)

    def make_room(self) -> None:
        """Send a stranger away."""
        self._send_away(lambda other: not other.is_kept)

    def _keep(self, place: Place) -> None:
        if place.owner is None or place.is_kept:
            return
        if self._kept < int(self.limits.connections * _KEPT):
            place.is_kept = True
            self._kept += 1

    def _disown(self, place: Place) -> None:
        if place.owner is not None:
            _less(self._owned, place.owner)
            self._strangers[place.network] += 1
            place.owner = None
        if place.is_kept:
            place.is_kept = False
            self._kept -= 1

    def _send_away(self, may_go: Callable[[Place], bool]) -> None:
        """Of those who may go, one of the network that has the most; there the silent and idle ones first."""
        strangers = [place for place in self._taken if not place.is_kept]
        blocks = Counter(place.block for place in strangers)
        networks = Counter(place.network for place in strangers)
        ripe = self._clock() - _RIPE_S

        def rank(place: Place) -> tuple[bool, int, int, bool, float]:
            crowd = blocks[place.block], networks[place.network]
            return place.since <= ripe, *crowd, not place.is_open, -place.since

        found = max(filter(may_go, strangers), key=rank, default=None)
        if found is not None:
            self.leave(found)
            self._shed(found.network)
            found.drop()
