"""Means over the folds of a cross-validation: an interval that knows that the folds share their patients.

Figures of folds are not independent: two models of five-fold cross-validation share three quarters of their
training patients. The usual t-interval takes them for independent and is too narrow. Nadeau and Bengio,
"Inference for the generalization error", Machine Learning 52 (2003), section 3, equation 13, put
1 / J + n_test / n_train in place of 1 / J; Bouckaert and Frank (PAKDD 2004) found it to be right for repeated
cross-validation too. It is of a model of as many patients as the folds trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Resampled:
    """A figure over the folds.

    Attributes:
        mean: Over all of them.
        deviation: Standard deviation between them; NaN of a single one.
        low: Lower end of the corrected interval of 95 % of the mean; NaN where there is none.
        high: Upper end.
        p: Of the corrected two-sided t-test that the mean is 0; NaN where there is none.
    """

    mean: float
    deviation: float
    low: float
    high: float
    p: float

    @classmethod
    def of(cls, values: Sequence[float], folds: int) -> Self:
        """Return the mean of a figure, or of a difference, over folds.

        Args:
            values: Of each fold, and of each repetition (J,).
            folds: Into how many the patients were divided: one of them tests, the others train.
        """
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, nan, nan, nan, nan)
        from scipy.stats import t  # noqa: PLC0415

        deviation = float(np.std(values, ddof=1))
        error = deviation * sqrt(1 / len(values) + 1 / (folds - 1))
        half = error * float(t.ppf(0.975, len(values) - 1))
        p = 2 * float(t.sf(abs(mean) / error, len(values) - 1)) if error > 0 else float(mean == 0)
        return cls(mean, deviation, mean - half, mean + half, p)
