"""ComBat: columns of a hospital brought to the federation's mean and deviation, shrunk over the columns.

Johnson, Li and Rabinovic (Biostatistics 2007), without covariates. d-ComBat (Chen et al., Human Brain Mapping
2022) needs sums of all hospitals for the common scale and nothing else; here the job states it, from the sums
of `wardround describe`. What is left is a hospital's own, and stays there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError

Numbers = NDArray[np.float64]

LEAST_PATIENTS = 10
_LEAST_COLUMNS = 3  # fewer say nothing of how columns differ
_MOST_STEPS, _NEAR = 1000, 1e-6


@dataclass(frozen=True)
class Shift:
    """What a hospital's column is taken back by, in deviations of all hospitals.

    Attributes:
        by: Its mean there (gamma star of the paper).
        times: Its deviation there (the root of delta star squared).
    """

    by: float
    times: float

    def undone(self, values: Numbers, mean: float, deviation: float) -> Numbers:
        """Return values without it, of a column with this mean and deviation at all hospitals."""
        found: Numbers = mean + deviation * ((values - mean) / deviation - self.by) / self.times
        return found


def shifts_of(values: Numbers, scale: Mapping[str, Sequence[float]], where: str) -> dict[str, Shift]:
    """Return how a hospital's columns lie beside those of all hospitals.

    Args:
        values: Of its patients (P, K), in the order of `scale`; NaN where one is not known.
        scale: Mean and deviation of each column at all hospitals.
        where: Says in an error what the values are of.

    Raises:
        DataError: A column is known of too few patients, or does not vary.
    """
    means, deviations = np.array(list(scale.values())).T
    own = (values - means) / deviations
    known = (~np.isnan(own)).sum(axis=0)
    for name, count, column in zip(scale, known, own.T, strict=True):
        problem = None
        if count < LEAST_PATIENTS:
            problem = f"is known of {count} training patients; {LEAST_PATIENTS} are needed"
        elif np.nanmax(column) == np.nanmin(column):
            problem = "is the same for all training patients"
        if problem is not None:
            remedy = "Name the columns that are to be brought together, without this one: --column."
            raise DataError(f"column '{name}' {problem}", where=where, remedy=remedy)
    by, squares = _shrunk(own, known.astype(float))
    return {name: Shift(float(b), float(d)) for name, b, d in zip(scale, by, np.sqrt(squares), strict=True)}


def _shrunk(own: Numbers, known: Numbers) -> tuple[Numbers, Numbers]:
    """Return gamma star and delta star squared of each column (K,): equations 3.1 and 3.2 of the paper."""
    by, squares = np.nanmean(own, axis=0), np.nanvar(own, axis=0, ddof=1)
    if len(by) < _LEAST_COLUMNS:
        return by, squares
    centre, spread = by.mean(), by.var(ddof=1)
    middle, width = squares.mean(), squares.var(ddof=1)
    if not width > 0:
        return (spread * known * by + squares * centre) / (spread * known + squares), squares
    shape, rate = 2 + middle**2 / width, middle + middle**3 / width  # of the inverse gamma, by its moments
    found, found_squares = by, squares
    for _ in range(_MOST_STEPS):
        before = np.stack([found, found_squares])
        found = (spread * known * by + found_squares * centre) / (spread * known + found_squares)
        summed = np.nansum((own - found) ** 2, axis=0)
        found_squares = (rate + summed / 2) / (known / 2 + shape - 1)
        if np.abs(np.stack([found, found_squares]) - before).max() < _NEAR:
            break
    return found, found_squares
