"""Whole numbers modulo 2^256 in a masked sum: for statistics, whose range no job states.

Each is four numbers of 64 bits, the lowest first, and carries go from one to the next. So a sum tells its
value and nothing else: if each 64 bits were masked and summed alone, it would tell the carries too.
"""

import math

import numpy as np
from numpy.typing import NDArray

from shared.privacy.secagg.errors import SecureAggregationError

WORDS = 4
_BITS = 64 * WORDS
FRACTION_BITS = 100
"""A number x is sent as round(x · 2^100): float64 holds no more of what is above 2^-47."""
LARGEST = 2.0**144
"""Largest absolute value of one site: those of 1000 stay below 2^255 · 2^-100."""

Words = NDArray[np.uint64]


def add(values: Words, addend: Words) -> None:
    """Add numbers (n · 4,) in place, modulo 2^256."""
    total, other = values.reshape(-1, WORDS), addend.reshape(-1, WORDS)
    carry = np.zeros(len(total), np.uint64)
    for word in range(WORDS):
        more = other[:, word] + carry
        wrapped = more < carry
        total[:, word] += more
        carry = (wrapped | (total[:, word] < more)).astype(np.uint64)


def subtract(values: Words, taken: Words) -> None:
    """Subtract numbers (n · 4,) in place, modulo 2^256."""
    total, other = values.reshape(-1, WORDS), taken.reshape(-1, WORDS)
    borrow = np.zeros(len(total), np.uint64)
    for word in range(WORDS):
        less = other[:, word] + borrow
        wrapped = less < borrow
        lent = wrapped | (total[:, word] < less)
        total[:, word] -= less
        borrow = lent.astype(np.uint64)


def encode(numbers: NDArray[np.float64]) -> Words:
    """Return numbers (n,) as a site's contribution (n · 4,).

    Raises:
        SecureAggregationError: One is not finite, or beyond `LARGEST`.
    """
    if not (np.abs(numbers) <= LARGEST).all():  # NaN is not
        raise SecureAggregationError(f"a number is not finite, or beyond {LARGEST:g}")
    whole = (round(math.ldexp(number, FRACTION_BITS)) % 2**_BITS for number in numbers.tolist())
    content = b"".join(number.to_bytes(_BITS // 8, "little") for number in whole)
    return np.frombuffer(content, "<u8").astype(np.uint64)


def decode(total: Words) -> NDArray[np.float64]:
    """Return the numbers (n,) that a sum (n · 4,) stands for, each rounded once."""
    content, size = total.astype("<u8").tobytes(), _BITS // 8
    parts = (content[start : start + size] for start in range(0, len(content), size))
    whole = (int.from_bytes(part, "little", signed=True) for part in parts)
    return np.array([number / 2**FRACTION_BITS for number in whole], np.float64)
