"""Metric states as integers modulo 2^64, for a masked sum: exact for counts, and near enough for sums.

A number x is sent as round(x · 2^f), f the largest number of fractional bits for which the sum of all sites
can't leave the signed 64 bits. It depends on the sum's limit and the number of sites alone, so every site
finds the same. Counts have no fractional bits.
"""

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 2.0**-30  # by which the sites' own additions in float64 may pass a limit
_ROOM = 62  # bits of a sum; the sign takes one, rounding and the site's own excess the other


class MetricCodec:
    """Fixed-point numbers for a sum of metric states.

    Args:
        limits: Largest absolute value of each number of the SUM (n,), as `MetricSet.limits` gives it for the
            images of all sites together.
        counts: Which of them are whole counts (n,).
        sites: Most sites in the sum.

    Raises:
        ValueError: A limit is beyond what fits.
    """

    def __init__(self, limits: NDArray[np.float64], counts: NDArray[np.bool_], sites: int) -> None:
        if not (limits <= 2.0**53).all():
            raise ValueError("metric states: a limit is beyond 2^53, up to which float64 is exact")
        self._limits = limits
        self._sites = sites
        # Half a unit of rounding for each site beside the limit itself.
        room = _ROOM - np.ceil(np.log2(np.maximum(limits, 1) + sites)).astype(np.int64)
        self._bits = np.where(counts, 0, np.minimum(room, 52))

    @property
    def size(self) -> int:
        """Numbers of an encoding."""
        return len(self._limits)

    def encode(self, states: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Return a site's contribution, shape (n,).

        Raises:
            ValueError: The shape is another, or a number is not finite or beyond its limit.
        """
        if states.shape != self._limits.shape:
            raise ValueError(f"metric states: expected {self._limits.shape} numbers, got {states.shape}")
        if not (np.abs(states) <= self._limits * (1 + _TOLERANCE)).all():  # NaN is not
            raise ValueError("metric states: a number is beyond what the images can give")
        return np.rint(np.ldexp(states, self._bits)).astype(np.int64).view(np.uint64)

    def decode(self, total: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the states (n,) that a sum of contributions stands for.

        Raises:
            ValueError: The shape is another, or the sum is beyond what the images of all sites can give.
        """
        if total.shape != self._limits.shape:
            raise ValueError(f"metric states: expected {self._limits.shape} numbers, got {total.shape}")
        states = np.ldexp(total.view(np.int64).astype(np.float64), -self._bits)
        rounding = np.ldexp(float(self._sites), -self._bits) + _TOLERANCE * self._limits
        if not (np.abs(states) <= self._limits + np.where(self._bits > 0, rounding, 0)).all():
            raise ValueError("metric states: the sum is beyond what the images of all sites can give")
        return states
