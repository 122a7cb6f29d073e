"""How often each value occurs in an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 48


@dataclass(frozen=True)
class Histogram:
    """The values of an image.

    Attributes:
        low: The lowest value.
        high: The highest.
        heights: (C, BINS), the square roots of the counts between them, over the largest: rare values
            stay visible beside a background.
    """

    low: float
    high: float
    heights: NDArray[np.float64]


def histogram(image: NDArray[np.float32]) -> Histogram:
    """Return the histogram of an image (C, *S), each channel by itself."""
    low, high = float(image.min()), float(image.max())
    ends = (low, high) if high > low else (low - 0.5, low + 0.5)
    counts = np.array([np.histogram(channel, BINS, ends)[0] for channel in image])
    roots = np.sqrt(counts)
    return Histogram(low, high, roots / roots.max())
