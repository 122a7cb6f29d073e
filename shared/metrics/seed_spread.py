"""What several runs of one job, of which each drew other random numbers, say together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_DRAWS = 20_000
LEAST_SEEDS = 3
"""Of two, the interval of the mean is 18 times as wide as they are apart: it says nothing."""


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        mean: Over the seeds.
        deviation: Standard deviation between seeds; NaN of a single one.
        low: Lower end of the interval of 95 % of the mean; NaN where there is none, as of two seeds.
        high: Upper end.
    """

    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], draws: Numbers | None, seed: int) -> "Spread":
        """Return the spread of a figure; arguments are those of `drawn_means`."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else nan
        low = high = nan
        if len(values) >= LEAST_SEEDS or (len(values) == 1 and draws is not None):
            low, high = map(float, np.percentile(drawn_means(values, draws, seed), (2.5, 97.5)))
        return cls(float(np.mean(values)), deviation, low, high)


def drawn_means(values: Sequence[float], draws: Numbers | None, seed: int) -> Numbers:
    """Return what the mean over the seeds would be with other patients and other seeds (20,000,).

    Other patients move all seeds together, as they have tested the same ones. What other seeds would change
    is drawn beside it from Student's t: of the mean of k seeds, with k - 1 degrees of freedom.

    Args:
        values: The figure of each seed (k,).
        draws: What their mean would be with other patients (R,); None where that is not known, and only the
            seeds differ.
        seed: Of what is drawn.
    """
    number = len(values)
    patients = np.array([np.mean(values)]) if draws is None else draws
    found = np.resize(patients, _DRAWS)
    if number == 1:
        return found
    noise = np.random.default_rng(seed).standard_t(number - 1, _DRAWS)
    moved: Numbers = found + noise * np.std(values, ddof=1) / sqrt(number)
    return moved
