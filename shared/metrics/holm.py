"""Holm's correction of p for how many comparisons were made."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Return each p as corrected for the number of comparisons (Holm, Scand J Stat 1979)."""
    order, found, largest = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for passed, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - passed) * p[place]))
        found[place] = largest
    return found
