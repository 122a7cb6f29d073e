"""How many parallel rays cover a picture; without PyTorch."""

import math
from collections.abc import Sequence


def rays_across(size: Sequence[int]) -> int:
    """Return how many rays, one pixel apart, cover a picture (H, W): its diagonal, rounded up."""
    squares = sum(side**2 for side in size)
    return math.isqrt(squares - 1) + 1 if squares else 0
