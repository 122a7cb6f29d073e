"""A weighted mean that does not depend on the order of its terms, in memory that does not grow with them.

Adding floating-point numbers in order of arrival gives other bits each time. Each term is therefore split
into an integer part and a fraction counted in units of 2^-48, both added as 64-bit integers: integer addition
is associative, so any order gives the same bits (a fixed-point accumulator, after Kulisch).
"""

import numpy as np
from numpy.typing import NDArray

_FRACTION = 2.0**48
LARGEST = 2.0**48  # of |weight · value|: with at most _TERMS terms no 64-bit sum can overflow
_TERMS = 2**14
_CHUNK = 1 << 14  # numbers handled at a time: temporaries stay in the cache of one core


class ExactMean:
    """Running weighted mean of float32 vectors.

    The sum is exact to 2^-49 for each term, whatever the order.

    Args:
        size: Length of the vectors.
    """

    def __init__(self, size: int) -> None:
        self._whole = np.zeros(size, dtype=np.int64)
        self._parts = np.zeros(size, dtype=np.int64)
        self._weight = 0
        self.terms = 0

    def add(self, vector: NDArray[np.float32], weight: int) -> None:
        """Add one vector of shape (size,).

        Raises:
            ValueError: Wrong shape, a weight that is not positive, a number that is not finite or beyond the
                range (|weight · value| ≤ 2^48), or too many terms. Nothing was added then.
        """
        if vector.shape != self._whole.shape:
            raise ValueError(f"a vector of shape {vector.shape} instead of {self._whole.shape}")
        if weight <= 0 or self.terms >= _TERMS:
            raise ValueError(f"weight {weight} or number of terms {self.terms} out of range")
        largest = float(np.abs(vector).max(initial=0.0))
        if not largest * weight <= LARGEST:
            raise ValueError(f"a number of size {largest:g} is out of range")
        for begin in range(0, vector.size, _CHUNK):
            span = slice(begin, begin + _CHUNK)
            terms = vector[span].astype(np.float64) * weight
            whole = np.rint(terms)
            self._whole[span] += whole.astype(np.int64)
            self._parts[span] += np.rint((terms - whole) * _FRACTION).astype(np.int64)
        self._weight += weight
        self.terms += 1

    def mean(self) -> NDArray[np.float32]:
        """Return the weighted mean, shape (size,).

        Raises:
            ValueError: Nothing was added.
        """
        if not self.terms:
            raise ValueError("the mean of nothing")
        result = np.empty(self._whole.shape, dtype=np.float32)
        for begin in range(0, result.size, _CHUNK):
            span = slice(begin, begin + _CHUNK)
            result[span] = (self._whole[span] + self._parts[span] / _FRACTION) / self._weight
        return result
