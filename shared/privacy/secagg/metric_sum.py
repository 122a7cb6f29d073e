"""Metric states in a masked sum: the fixed-point numbers that all sites of a roster use for them."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from shared.metrics.codec import MetricCodec
from shared.metrics.grouped import GroupedMetrics
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.limits import LARGEST_WEIGHT


def encode_states(
    states: NDArray[np.float64], metrics: GroupedMetrics, roster: Collection[Claims]
) -> NDArray[np.uint64]:
    """Return a site's contribution to a sum of metric states, shape (n,).

    Args:
        states: The site's, packed (n,).
        metrics: Of the job, with nothing in them.
        roster: What every site that may be in the sum claims.

    Raises:
        SecureAggregationError: A number is beyond what the images can give.
    """
    try:
        return _codec(metrics, roster).encode(states)
    except ValueError as error:
        raise SecureAggregationError(str(error)) from None


def decode_states(
    total: NDArray[np.uint64], metrics: GroupedMetrics, roster: Collection[Claims]
) -> NDArray[np.float64]:
    """Return the states (n,) that a sum stands for, and merge them into the metrics.

    Args:
        total: With no mask left, shape (n,).
        metrics: Of the job, with nothing in them.
        roster: As for `encode_states`.

    Raises:
        SecureAggregationError: They are beyond what the images can give, or contradict each other.
    """
    try:
        states = _codec(metrics, roster).decode(total)
        metrics.merge(states)
    except ValueError as error:
        raise SecureAggregationError(f"the sum makes no sense: {error}") from None
    return states


def _codec(metrics: GroupedMetrics, roster: Collection[Claims]) -> MetricCodec:
    # Claimed images are rounded, and some sites tell none: there is room for more of them.
    images = max(LARGEST_WEIGHT, 2 * sum(claims.weight for claims in roster))
    return MetricCodec(metrics.limits(images), metrics.counts(), len(roster))
