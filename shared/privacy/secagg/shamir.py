"""Shamir's secret sharing (1979) over a prime field just above 256 bits.

Python's integers are not constant in time. What could be timed is a site's arithmetic with its own fresh
secrets, once a round, from another machine, and the key streams and training around it take far longer.
"""

import secrets
from collections.abc import Sequence

PRIME = 2**256 + 297  # the least prime above 2^256: any 32 bytes are an element of the field
SHARE_BYTES = 33


def split(secret: int, threshold: int, count: int) -> list[int]:
    """Return the shares of a secret at the points 1 to `count`; any `threshold` of them give it back.

    Args:
        secret: 0 ≤ secret < PRIME.
        threshold: 1 ≤ threshold ≤ count; fewer shares say nothing of the secret.
        count: Number of shares.

    Raises:
        ValueError: A number is out of its range.
    """
    if not 0 <= secret < PRIME or not 1 <= threshold <= count:
        raise ValueError("secret, threshold or number of shares out of range")
    coefficients = [secret, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return [_evaluate(coefficients, point) for point in range(1, count + 1)]


def weights(points: Sequence[int]) -> list[int]:
    """Return Lagrange's weights at zero: the secret is the sum of weight · share modulo `PRIME`.

    Raises:
        ValueError: A point appears twice or is zero.
    """
    if len(set(points)) != len(points) or 0 in points:
        raise ValueError("a point appears twice, or is zero")
    found = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return found


def join(shares: Sequence[int], lagrange: Sequence[int]) -> int:
    """Return the secret of as many shares as there are weights, in the order of their points."""
    return sum(share * weight for share, weight in zip(shares, lagrange, strict=True)) % PRIME


def share_to_bytes(share: int) -> bytes:
    """Return a share as `SHARE_BYTES` bytes."""
    return share.to_bytes(SHARE_BYTES, "big")


def share_from_bytes(data: bytes) -> int:
    """Return a share.

    Raises:
        ValueError: It is not an element of the field.
    """
    share = int.from_bytes(data, "big")
    if len(data) != SHARE_BYTES or share >= PRIME:
        raise ValueError("a share is not an element of the field")
    return share


def _evaluate(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
