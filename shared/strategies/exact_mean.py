"""A weighted mean that does not depend on the order of its terms, in memory that does not grow with them.

Adding floating-point numbers in order of arrival gives other bits each time. Each term is therefore split
into an integer part and a fraction counted in units of 2^-48, both added as 64-bit integers: integer addition
is associative, so any order gives the same bits (a fixed-point accumulator, after Kulisch).
"""

import numpy as np
from numpy.typing import NDArray

LARGEST = 2.0**48  # of |weight · value|: with at most _TERMS terms no 64-bit sum can overflow
_TERMS = 2**14
_CHUNK = 1 << 14  # numbers handled at a time: temporaries stay in the cache of one core

# Adding 1.5 · 2^52 to a float64 rounds it to an integer (half to even) and leaves that integer in the low
# bits of its pattern; adding 1.5 · 2^(52 - 48) does so in units of 2^-48. Patterns are added as they are, and
# what each has too much is taken off at the end, modulo 2^64: converting to integers would take twice the
# time of all the rest.
_FRACTION = 2.0**48
_ROUND_WHOLE = 1.5 * 2.0**52
_ROUND_PARTS = 1.5 * 2.0**52 / _FRACTION
_EXCESS_WHOLE, _EXCESS_PARTS = (int(np.float64(x).view(np.int64)) for x in (_ROUND_WHOLE, _ROUND_PARTS))


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
        if not in_range(vector, weight):
            raise ValueError("a number is out of range")
        terms, rounded = np.empty((2, _CHUNK))
        for begin in range(0, vector.size, _CHUNK):
            span = slice(begin, begin + _CHUNK)
            values = vector[span]
            term, whole = terms[: values.size], rounded[: values.size]
            np.multiply(values, weight, out=term, dtype=np.float64)
            np.add(term, _ROUND_WHOLE, out=whole)
            self._whole[span] += whole.view(np.int64)
            whole -= _ROUND_WHOLE
            term -= whole
            term += _ROUND_PARTS
            self._parts[span] += term.view(np.int64)
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
        excess_whole, excess_parts = (
            np.uint64(self.terms * excess % 2**64).astype(np.int64)
            for excess in (_EXCESS_WHOLE, _EXCESS_PARTS)
        )
        for begin in range(0, result.size, _CHUNK):
            span = slice(begin, begin + _CHUNK)
            whole, parts = self._whole[span] - excess_whole, self._parts[span] - excess_parts
            result[span] = (whole + parts / _FRACTION) / self._weight
        return result


def in_range(vector: NDArray[np.float32], weight: int) -> bool:
    """Say whether every number of a vector, times its weight, can be added up; NaN and infinity can't."""
    largest = max(float(vector.max(initial=0.0)), -float(vector.min(initial=0.0)))
    return largest * weight <= LARGEST
