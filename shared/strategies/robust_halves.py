"""What the coordinator makes of updates that it looks at one by one, where Flower has nothing for it."""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from shared.strategies.flower_halves import WEIGHT, Aggregated, CentralHalf
from shared.wire.flat_array import view
from shared.wire.messages import ARRAYS, METRICS, VECTOR, vector_record

_SMOOTH = 1e-6  # of the distance to the geometric median, below which it counts as so far (RFA's nu)

Updates = NDArray[np.float32]
"""What each site sent less what it was sent (sites, n)."""


class Compared(CentralHalf):
    """Makes an update of all updates of a round, which it holds at once."""

    _sent: NDArray[np.float32]

    @abstractmethod
    def combined(self, updates: Updates, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one update (n,).

        Args:
            updates: Of the sites.
            weights: Of each; they add up to 1.
        """

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Note what is sent: updates are what became of it."""
        self._sent = view(arrays[VECTOR])
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Return the next model, and the mean of the losses that sites share."""
        contents = [reply.content for reply in replies]
        if not contents:
            return None, None
        weights = np.array([content[METRICS][WEIGHT] for content in contents], np.float64)
        updates = np.stack([view(content[ARRAYS][VECTOR]) - self._sent for content in contents])
        update = self.combined(updates, weights / weights.sum())
        losses = np.array([content[METRICS]["loss"] for content in contents], np.float64)
        told = ~np.isnan(losses)
        loss = float(np.average(losses[told], weights=weights[told])) if told.any() else math.nan
        return vector_record((self._sent + update).astype(np.float32)), MetricRecord({"loss": loss})

    def norms(self, updates: Updates) -> NDArray[np.float64]:
        """Return the length of each update (sites,), without what is counted and not trained."""
        trained = updates[:, : self.layout.parameters]
        return np.sqrt(np.square(trained, dtype=np.float64).sum(axis=1))


class NormBound(Compared):
    """The mean of the updates that are not much longer than the median one, each cut down to that.

    Args:
        reject: How many times as long as the median an update may be.
        options: Flower's.
    """

    def __init__(self, *, reject: float, **options: Any) -> None:
        super().__init__(**options)
        self._reject = reject

    def combined(self, updates: Updates, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """See the base class; at least half of the updates are not rejected."""
        norms = self.norms(updates)
        median = float(np.median(norms))
        kept = np.where(norms <= self._reject * median, weights, 0.0)
        scales = np.minimum(1.0, median / np.maximum(norms, np.finfo(np.float64).tiny))
        shares = kept / kept.sum()
        trained = self.layout.parameters
        mean: NDArray[np.float64] = shares @ updates
        mean[:trained] = (shares * scales) @ updates[:, :trained]
        return mean


class GeometricMedian(Compared):
    """The point with the least weighted sum of distances to the updates (Weiszfeld's algorithm, smoothed).

    Args:
        steps: Of the algorithm.
        options: Flower's.
    """

    def __init__(self, *, steps: int, **options: Any) -> None:
        super().__init__(**options)
        self._steps = steps

    def combined(self, updates: Updates, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """See the base class; it begins with the mean."""
        middle: NDArray[np.float64] = weights @ updates
        for _ in range(self._steps):
            far = np.sqrt(np.square(updates - middle).sum(axis=1))
            shares = weights / np.maximum(far, _SMOOTH)
            middle = (shares / shares.sum()) @ updates
        return middle


class Flame(Compared):
    """The mean of the updates of the closest majority, by their angles, cut down to the median norm.

    FLAME (Nguyen et al., USENIX Security 2022), algorithm 1, without its noise. Where it clusters by HDBSCAN
    with clusters of more than half of the sites, here clusters are joined by their mean cosine distance,
    until the first has more than half: the least spread-out majority, without a density to be set.
    """

    def combined(self, updates: Updates, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """See the base class; of two updates both count."""
        trained = self.layout.parameters
        norms = np.maximum(self.norms(updates), np.finfo(np.float32).tiny)
        units = updates[:, :trained] / norms[:, None]
        shares = np.where(_closest_majority(units @ units.T), weights, 0.0)
        shares /= shares.sum()
        scales = np.minimum(1.0, np.median(norms) / norms)
        mean: NDArray[np.float64] = shares @ updates
        mean[:trained] = (shares * scales) @ updates[:, :trained]
        return mean


def _closest_majority(cosines: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which vectors (N,) the first cluster of more than half of them has, by their cosines (N, N)."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    members = [frozenset([own]) for own in range(len(cosines))]
    if len(members) > 1:
        apart = np.maximum(1.0 - cosines, 0.0)
        np.fill_diagonal(apart, 0.0)
        for one, other, *_ in linkage(squareform(apart, checks=False), "average"):
            members.append(members[int(one)] | members[int(other)])
            if 2 * len(members[-1]) > len(cosines):
                break
    return np.isin(np.arange(len(cosines)), list(members[-1]))
