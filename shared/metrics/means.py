"""Ratios and means of arrays in which some values are undefined."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def ratio(above: Numbers, below: Numbers) -> Numbers:
    """Return quotients; NaN where nothing is below the line."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def mean(values: Numbers) -> Numbers:
    """Return the mean over the last axis of what is defined."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(float))
