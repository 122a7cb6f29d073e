"""FedBuff: the model moves on whenever its buffer of updates is full, however old their first models are."""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

BEGUN = "begun"
"""Name of the model that a site got with its last update, from which it trains for the next."""

LEFT = "left"
"""Name of how many rounds were left then."""


class FedBuff(StrategyOptions):
    """Asynchronous FedAvg with a buffer of updates, older ones counting less (Nguyen et al. 2022)."""

    in_turn: ClassVar[bool] = True
    at_site: ClassVar[str] = "trains from the model that came with its last update, which it keeps"

    name: Literal["fedbuff"]
    buffer: int = Field(2, ge=1, le=10_000, description="Updates after which the model moves on (K).")
    server_learning_rate: float = Field(1.0, gt=0, description="Step along the averaged update.")
    spread: float = Field(
        1.0,
        ge=0,
        le=5,
        description="How much sites differ in speed: deviation of the logarithm of the time that their "
        "trainings take, drawn by the job's seed. 0 makes all alike.",
    )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what does not go with a buffer."""
        if self.min_sites > self.buffer:
            yield (
                f"[strategy] min_sites: must be at most buffer, here {self.buffer}, under 'fedbuff': a round "
                "has that many sites"
            )
        if self.fraction != 1:
            yield "[strategy] fraction: can't be used with 'fedbuff', whose buffer says how many take part"

    def turn(self, sites: Sequence[str], round_: int, seed: int) -> Sequence[str]:
        """Return whose updates are in the buffer of a round, by the clock of a drawn simulation.

        A training takes a time of a half-normal distribution, as in the paper's experiments, times the
        site's own slowness. A site whose next update is there before the buffer is full has it in the next.
        """
        deliveries = {site: self._deliveries(site, seed) for site in sites}
        clock = [(next(own), site) for site, own in deliveries.items()]
        heapify(clock)
        for _ in range(round_):
            buffered = [heappop(clock)[1] for _ in range(min(self.buffer, len(sites)))]
            for site in buffered:
                heappush(clock, (next(deliveries[site]), site))
        return sorted(buffered)

    def _deliveries(self, site: str, seed: int) -> Iterator[float]:
        """Yield when each of a site's updates is there."""
        import numpy as np

        from shared.seeds import seed_of

        drawn, time = np.random.default_rng(seed_of(seed, "speed", site)), 0.0
        slowness = np.exp(self.spread * drawn.normal())
        while True:
            time += slowness * abs(drawn.normal())
            yield time

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that is late."""
        return Late(layout.size, layout.parameters, self.server_learning_rate)


class Late(SiteHalf):
    """Trains from an older model, and adds η Δ / √(1 + τ) to the one that it is sent (algorithms 1 and 2).

    Δ is the change of its training, η the server's learning rate, and τ by how many rounds the model moved on
    since the site got the one that it began with. The mean over a buffer is then w + η · 1/K Σ s(τ) Δ. On its
    first turn a site trains from the model that it gets. Statistics of batch norm are sent as they are.

    Args:
        size: Numbers of the network.
        trained: Of these, those that are trained; they stand first.
        rate: η.
    """

    def __init__(self, size: int, trained: int, rate: float) -> None:
        self._trained = trained
        self._rate = rate
        self.keeps = {BEGUN: size, LEFT: 1}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train from the model of the last turn; the next one begins with what came now."""
        import numpy as np

        now, own = received[MODEL], slice(self._trained)
        start = kept[BEGUN] if kept else now
        stale = float(kept[LEFT][0]) - train.left if kept else 0.0
        model = train(start).model.copy()
        model[own] = now[own] + np.float32(self._rate / np.sqrt(1 + stale)) * (model[own] - start[own])
        return {MODEL: model}, {BEGUN: now, LEFT: np.array([train.left], np.float32)}
