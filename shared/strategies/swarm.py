"""Swarm: peers hand a model on in a drawn order, and each merges it with the one that it had."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.cyclic import OneAtATime
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    from shared.wire.packed_model import Layout

OWN = "own"
"""Name of the model that the site's last turn ended with."""


class Swarm(OneAtATime):
    """Peers drawn one after the other merge the model with their own and train it (Hegedűs et al. 2021).

    This is gossip learning. In swarm learning (Warnat-Herresthal et al. 2021) the peer that leads a round
    merges the models of all, which gives the numbers that 'fedavg' gives.
    """

    at_site: ClassVar[str] = (
        "keeps what it has trained, merges it with the model that comes next, and what this site alone has "
        "trained goes on to another site"
    )

    name: Literal["swarm"]
    own_share: float = Field(
        0.5, ge=0, lt=1, description="Share of the site's own last model when two are merged; 0 keeps none."
    )

    def turn(self, sites: Sequence[str], round_: int, seed: int) -> Sequence[str]:
        """Return whose turn it is: any other site than in the round before, each with the same chance."""
        import numpy as np

        from shared.seeds import seed_of

        drawn = np.random.default_rng(seed_of(seed, "peers"))
        place = int(drawn.integers(len(sites)))
        if len(sites) > 1:
            place += int(drawn.integers(1, len(sites), round_ - 1).sum())
        return [sites[place % len(sites)]]

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that merges."""
        return Merging(layout.size, self.own_share)


class Merging(SiteHalf):
    """Trains from the mean of what came and what it had (algorithm 1: merge, then update).

    The paper weighs both by how often they were trained; here the own one has a share of its own.

    Args:
        size: Numbers of the network.
        share: Of the site's own model.
    """

    def __init__(self, size: int, share: float) -> None:
        self._share = share
        self.keeps = {OWN: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Merge and train; on its first turn a site has nothing to merge."""
        start = received[MODEL]
        if kept:
            start = start + self._share * (kept[OWN] - start)
        model = train(start).model
        return {MODEL: model}, {OWN: model}
