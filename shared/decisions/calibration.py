"""Scores made into probabilities that hold, from summed histograms."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.decisions.rows import Row

Floats = NDArray[np.float64]

LEAST, MOST = 0.05, 20.0
"""Temperatures that are tried."""
_END = 1.01  # times the least: as good as that


def temperature_of(rows: Sequence[Row]) -> float | None:
    """Return the temperature by which logits are divided (Guo et al., ICML 2017, section 4.2).

    It minimises the log loss of each class against the others, summed over the classes, with every image in
    the middle of its bin. Of two classes, or of several labels, that is the log loss itself.

    Args:
        rows: Of the validation patients.

    Returns:
        None where the least is the best: scores of a network that has hardly learnt lie in the bin around
        0, and the few beyond would make calibrated probabilities of 0 and 1.
    """
    known = [row for row in rows if row.is_known]
    if not known:
        return None
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 (the coordinator needs it once)

    def loss(log_temperature: float) -> float:
        divided = [row.middles / np.exp(log_temperature) for row in known]
        return float(
            sum(
                (row.positives * np.logaddexp(0, -own) + row.negatives * np.logaddexp(0, own)).sum()
                for row, own in zip(known, divided, strict=True)
            )
        )

    bounds = (np.log(LEAST), np.log(MOST))
    found = float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
    return found if found > LEAST * _END else None


def isotonic_of(row: Row) -> Floats | None:
    """Return the probability of the class in each bin (B,), which never falls (pool adjacent violators).

    It is the least-squares fit to the share of the class in each bin, weighted by the bin's images (Zadrozny
    and Elkan, KDD 2002). None is 0 or 1: N images know no chance below 1 / (N + 2). An empty bin has that of
    its neighbours.

    Args:
        row: Of the validation patients.
    """
    if not row.is_known:
        return None
    from scipy.optimize import isotonic_regression  # noqa: PLC0415

    images = row.positives + row.negatives
    there = images > 0
    fitted = isotonic_regression(row.positives[there] / images[there], weights=images[there]).x
    every = np.interp(row.middles, row.middles[there], fitted)
    least = 1 / (images.sum() + 2)
    return np.clip(every, least, 1 - least)
