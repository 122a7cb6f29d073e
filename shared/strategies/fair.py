"""q-FedAvg and agnostic federated learning: sites at which the model is bad count more."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

LARGEST = 1e12
"""Of what a change can count: more is an arithmetic that has overflowed, or a lie."""

SCALE = "scale"
"""Name of what travels beside the model: how much a site's change counts, and back the sum of that so far."""

LOG_SHARE = "log-share"
"""Name of what a site keeps under 'afl': the logarithm of its share, but for what all have in common."""


class Fair(StrategyOptions):
    """Options of the strategies that weigh sites by their loss."""

    tells_loss: ClassVar[bool] = True

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what a site's loss can't be had with, or what is done to it."""
        from shared.strategies.kept_whole import cut_down

        if job.privacy.mechanism == "dp-sgd":
            yield (
                f"[strategy] name: '{self.name}' weighs sites by their training loss, which no noise of "
                "'dp-sgd' protects"
            )
        yield from cut_down(job, "the coordinator divides what each site sends by how much that counts")

    def sends(self, layout: "Layout") -> Mapping[str, int]:
        """Return how much a site's change counts."""
        return {SCALE: 1}

    def bounds(self, job: "JobSpec", examples: int) -> Mapping[str, tuple[float, float]]:
        """Return that no change counts less than nothing: a sum near 0 would move the model far."""
        return {SCALE: (0.0, LARGEST)}


class QFedAvg(Fair):
    """FedAvg of a loss that counts sites more, the larger their own is (Li et al. 2020)."""

    at_site: ClassVar[str] = "sends its change times a power of its training loss"

    name: Literal["qfedavg"]
    q: float = Field(1.0, ge=0, le=10, description="How much fairness counts; 0 is 'fedavg'.")

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that weighs its change."""
        return Weighed(self.q, layout.parameters)

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Return w - Σ Δ_k / Σ h_k (algorithm 2), of statistics of batch norm too, which stay positive."""
        return {MODEL: _divided(mean, before), SCALE: 0 * mean[SCALE]}, {}


class Weighed(SiteHalf):
    """Sends Δ_k = F^q · L (w - w_k) and h_k = q F^(q-1) ‖L (w - w_k)‖² + L F^q, both divided by L.

    F is the loss of what was sent, L one over the mean learning rate.

    Args:
        q: The power.
        size: Numbers that are trained.
    """

    def __init__(self, q: float, size: int) -> None:
        self._q = q
        self._size = size

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Look at the loss, train, and weigh the change."""
        import numpy as np

        start, q = received[MODEL], self._q
        loss = max(train.loss(start), 1e-10)
        trained = train(start)
        change = (trained.model - start).astype(np.float64)
        rates = np.asarray(trained.rates, np.float64)
        lipschitz = trained.steps / float(rates[np.isfinite(rates)].mean())
        square = float(np.square(change[: self._size]).sum())
        scale = q * loss ** (q - 1) * lipschitz * square + loss**q
        sent = (start + loss**q * change).astype(np.float32)
        return {MODEL: sent, SCALE: np.array([scale], np.float32)}, {}


class AFL(Fair):
    """Agnostic federated learning: the model that is best where it is worst (Mohri et al. 2019).

    Shares of sites follow their losses by multiplicative weights, the mirror step in place of the paper's
    projection: each site knows its own alone, and nothing but sums is needed.
    """

    at_site: ClassVar[str] = "sends its change times a share that grows with its training loss"

    name: Literal["afl"]
    ascent: float = Field(0.1, ge=0, le=10, description="Learning rate of the sites' shares.")

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that has a share of its own."""
        return Shared(self.ascent)

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Return Σ λ_k w_k, where the λ_k add up to 1 (section 4.1); all take the mean share off theirs."""
        import numpy as np

        common = before[SCALE] + np.log(np.maximum(mean[SCALE], 1e-30))
        return {MODEL: _divided(mean, before), SCALE: common}, {}


class Shared(SiteHalf):
    """Keeps log λ_k, adds ascent · F(w) to it in each round, and sends its change times λ_k.

    Args:
        ascent: Learning rate of the shares.
    """

    keeps: Mapping[str, int] = {LOG_SHARE: 1}

    def __init__(self, ascent: float) -> None:
        self._ascent = ascent

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Look at the loss, train, and weigh the change."""
        import numpy as np

        start, common = received[MODEL], received[SCALE]
        before = kept[LOG_SHARE] if kept else common
        log_share = before + np.float32(self._ascent * train.loss(start))
        share = np.exp(log_share - common)
        sent = start + share * (train(start).model - start)
        return {MODEL: sent, SCALE: share}, {LOG_SHARE: log_share}


def _divided(mean: Vectors, before: Vectors) -> Vector:
    return before[MODEL] + (mean[MODEL] - before[MODEL]) / mean[SCALE]
