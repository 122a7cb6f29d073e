"""A weighted mean that does not depend on the order of its terms, in memory that does not grow with them.

Adding floating-point numbers in order of arrival gives other bits each time. So each term is rounded to a
whole number of units of 2^-48, and these are added as integers: integer addition is associative, so any order
gives the same bits (a fixed-point accumulator, after Kulisch).

One 64-bit integer holds a sum below 2^15. Models seldom leave that: where the numbers of a stretch of the
vector might, its sums are split into an integer part and a fraction, with 64 bits each.
"""

import numpy as np
from numpy.typing import NDArray

LARGEST = 2.0**48  # of |weight · value|: with at most _TERMS terms no 64-bit sum can overflow
_TERMS = 2**14
_CHUNK = 1 << 14  # numbers handled at a time: temporaries stay in the cache of one core
_ONE_WORD = (
    2.0**15 - 1
)  # of the sum of all |weight · value|, up to which one integer holds the sum of the units

# Adding 1.5 · 2^52 to a float64 rounds it to an integer (half to even) and leaves that integer in the low
# bits of its pattern; adding 1.5 · 2^(52 - 48) does so in units of 2^-48. Patterns are added as they are, and
# what each has too much is taken off at the end, modulo 2^64: converting to integers would take twice the
# time of all the rest.
_BITS = 48
_FRACTION = 2.0**_BITS
_ROUND_WHOLE = 1.5 * 2.0**52
_ROUND_PARTS = 1.5 * 2.0**52 / _FRACTION
_EXCESS_WHOLE, _EXCESS_PARTS = (int(np.float64(x).view(np.int64)) for x in (_ROUND_WHOLE, _ROUND_PARTS))
_UNITS = np.int64(2**_BITS - 1)  # of a number: those of its fraction

Integers = NDArray[np.int64]


class ExactMean:
    """Running weighted mean of float32 vectors.

    The sum is exact to 2^-49 for each term, whatever the order.

    Args:
        size: Length of the vectors.
    """

    def __init__(self, size: int) -> None:
        self._parts = np.zeros(size, dtype=np.int64)
        self._whole: dict[int, Integers] = {}  # by the place where a stretch begins, if its sums are split
        self._bounds = np.zeros(
            -(-size // _CHUNK)
        )  # of each stretch: the sum of all |weight · value| at most
        self._weight = 0
        self.terms = 0

    def add(self, vector: NDArray[np.float32], weight: int) -> None:
        """Add one vector of shape (size,).

        Raises:
            ValueError: Wrong shape, a weight that is not positive, a number that is not finite or beyond the
                range (|weight · value| ≤ 2^48), or too many terms. Nothing was added then.
        """
        if weight <= 0 or self.terms >= _TERMS:
            raise ValueError(f"weight {weight} or number of terms {self.terms} out of range")
        if vector.shape != self._parts.shape:
            raise ValueError(f"a vector of shape {vector.shape} instead of {self._parts.shape}")
        largest = _largest(vector) * weight
        if not (largest <= LARGEST).all():  # NaN is not
            raise ValueError("a number is out of range")
        self._bounds += largest
        for begin in range(0, vector.size, _CHUNK):
            if begin not in self._whole and self._bounds[begin // _CHUNK] > _ONE_WORD:
                self._split(begin)
        self._add(vector, weight)
        self._weight += weight
        self.terms += 1

    def _add(self, vector: NDArray[np.float32], weight: int) -> None:
        terms, rounded = np.empty((2, _CHUNK))
        for begin in range(0, vector.size, _CHUNK):
            span = slice(begin, begin + _CHUNK)
            values = vector[span]
            term, whole = terms[: values.size], rounded[: values.size]
            np.multiply(values, weight, out=term, dtype=np.float64)
            np.add(term, _ROUND_WHOLE, out=whole)
            if begin in self._whole:
                self._whole[begin] += whole.view(np.int64)
            else:  # the excess of a pattern is beyond 64 bits then
                self._parts[span] += whole.view(np.int64) << _BITS
            whole -= _ROUND_WHOLE
            term -= whole
            term += _ROUND_PARTS
            self._parts[span] += term.view(np.int64)

    def _split(self, begin: int) -> None:
        """Give the sums of a stretch an integer of their own for what is whole."""
        parts = self._parts[begin : begin + _CHUNK]
        units = parts - _excess(self.terms, _EXCESS_PARTS)
        self._whole[begin] = (units >> _BITS) + _excess(self.terms, _EXCESS_WHOLE)
        parts -= units & ~_UNITS

    def mean(self) -> NDArray[np.float32]:
        """Return the weighted mean, shape (size,), in the memory of the sums, which end with that.

        Raises:
            ValueError: Nothing was added, or the mean was taken before.
        """
        if not self._parts.size or not self.terms:
            raise ValueError("the mean of nothing")
        parts, self._parts = self._parts, np.zeros(0, dtype=np.int64)
        size, result = parts.size, parts.view(np.float32)
        for begin in range(0, size, _CHUNK):
            units = parts[begin : begin + _CHUNK] - _excess(self.terms, _EXCESS_PARTS)
            whole = units >> _BITS
            if begin in self._whole:
                whole += self._whole.pop(begin) - _excess(self.terms, _EXCESS_WHOLE)
            # A mean is half as wide as its sum: it takes the place of sums that were read.
            result[begin : begin + units.size] = (whole + (units & _UNITS) / _FRACTION) / self._weight
        del result
        parts.resize(-(-size // 2), refcheck=False)  # gives the rest of the memory back
        return parts.view(np.float32)[:size]


def _excess(terms: int, each: int) -> np.int64:
    """Return what the patterns of so many terms have too much, modulo 2^64."""
    return np.uint64(terms * each % 2**64).astype(np.int64)


def _largest(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest |value| of each stretch of a vector; NaN where one has a NaN."""
    if not vector.size:
        return np.zeros(0)
    begins = np.arange(0, vector.size, _CHUNK)
    most, least = np.maximum.reduceat(vector, begins), np.minimum.reduceat(vector, begins)
    return np.maximum(most, -least).astype(np.float64)


def in_range(vector: NDArray[np.float32], weight: int) -> bool:
    """Say whether every number of a vector, times its weight, can be added up; NaN and infinity can't."""
    largest = max(float(vector.max(initial=0.0)), -float(vector.min(initial=0.0)))
    return largest * weight <= LARGEST
