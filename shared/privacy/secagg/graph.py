"""Who masks with whom, how many may drop out, and how many may collude with the coordinator.

Up to `DEGREE` + 1 sites everybody masks with everybody. Above, sites stand in a ring and mask with the
`DEGREE` nearest: the Harary graph H(DEGREE, n), which stays connected whichever DEGREE - 1 sites are taken
away (Harary 1962). Where a site stands follows from a hash of all the sites' fresh keys, so nobody chooses
it alone.

What a coordinator learns is one sum for each connected part of the graph of honest survivors (Bell et al.
2020). It may claim any dropouts, with the graph before its eyes, so randomness of the graph alone does not
do: every site checks, before it gives shares away, that the survivors' graph stays connected whichever
`colluders` of them are taken away.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shared.privacy.secagg.wire import pack

DEGREE = 16
SPARSE_COLLUDERS = (
    3  # tolerated in a sparse graph; with 30 % random dropouts of 100 sites 1 round in 150 is refused
)


@dataclass(frozen=True)
class Plan:
    """The numbers that follow from how many sites take part."""

    sites: int

    @property
    def threshold(self) -> int:
        """Shares that give a secret back, and least number of survivors: ⌊2n/3⌋ + 1.

        Two thresholds overlap in more than `colluders` sites, so an honest site would have to sign two lists
        of survivors before both could be used (Bonawitz et al. 2017).
        """
        return 2 * self.sites // 3 + 1

    @property
    def dropouts(self) -> int:
        """Sites that may drop out."""
        return self.sites - self.threshold

    @property
    def is_sparse(self) -> bool:
        """Whether a site masks with some of the others only."""
        return self.sites > DEGREE + 1

    @property
    def colluders(self) -> int:
        """Sites that may tell the coordinator all that they know, and the others' sum stays all it learns."""
        overlap = 2 * self.threshold - self.sites - 1
        bound = min(overlap, self.threshold - 2)
        return min(bound, SPARSE_COLLUDERS) if self.is_sparse else bound


class Ring:
    """The graph of one round.

    Args:
        sites: Names of all who sent keys.
        digest: Of all their keys.
    """

    def __init__(self, sites: Collection[str], digest: bytes) -> None:
        self.order = sorted(sites, key=lambda site: hashlib.sha256(pack(digest, site.encode())).digest())
        self._plan = Plan(len(self.order))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {site: place for place, site in enumerate(self.order)}

    def neighbours(self, site: str) -> set[str]:
        """Return the sites with which a site masks."""
        if not self._plan.is_sparse:
            return set(self.order) - {site}
        place, count = self._places[site], len(self.order)
        steps = [step for step in range(-(DEGREE // 2), DEGREE // 2 + 1) if step]
        return {self.order[(place + step) % count] for step in steps}

    def connectivity(self, survivors: Collection[str]) -> int:
        """Return how many survivors must be taken away to cut the others in two, or to leave only one.

        To cut a ring whose members reach DEGREE / 2 steps, two gaps of so many places are needed, with
        somebody between them on either side.
        """
        if not self._plan.is_sparse:
            return len(survivors) - 1
        count, reach = len(self.order), DEGREE // 2
        alive = np.isin(self.order, list(survivors))
        passed = np.concatenate([[0], np.cumsum(np.tile(alive, 3))])
        start = np.arange(count)
        window = passed[start + reach] - passed[start]  # survivors within each gap of `reach` places
        least = len(survivors) - 1
        for apart in range(reach + 1, count - reach):
            between = passed[start + apart] - passed[start + reach]
            beyond = passed[start + count] - passed[start + apart + reach]
            cuts = (window + window[(start + apart) % count])[(between > 0) & (beyond > 0)]
            least = min(least, int(cuts.min(initial=least)))
        return least


def is_safe(ring: Ring, survivors: Sequence[str]) -> bool:
    """Say whether the sum of the survivors is all that unmasking them can reveal."""
    plan = Plan(len(ring.order))
    return len(survivors) >= plan.threshold and ring.connectivity(survivors) > plan.colluders
