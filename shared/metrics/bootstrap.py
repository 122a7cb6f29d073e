"""Intervals of 95 % from a bootstrap over patients, which hold their 95 % with few patients too.

Plain percentiles hold 90 % of the true AUROCs with 40 patients (docs/benchmarks.md): they are not
centred where the figure is, and too narrow. BCa intervals (Efron, JASA 1987) mend the first, and tails of
Student's t in place of the normal's (Hesterberg, American Statistician 2015) the second.

A mean to which a few patients bring the most (an error, a distance) is too small where chance left those few
out, and its spread with it. What is drawn for it is how many deviations of its own each draw is away
(bootstrap t: Efron, SIAM 1982, chapter 10; Hall, Annals of Statistics 1988), and that is as much wider as
Student's tails are.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.metrics.intervals import Interval
from shared.metrics.replicates import Draws

Numbers = NDArray[np.float64]
_TAIL = 0.025
_DEVIATE = NormalDist().inv_cdf(1 - _TAIL)
_MOST_GROUPS = 200


@dataclass(frozen=True)
class Bootstrap:
    """Draws of the patients of a test.

    Attributes:
        patients: How many there are.
        number: Draws of as many patients with replacement.
        seed: Of the draws.
    """

    patients: int
    number: int
    seed: int

    @cached_property
    def draws(self) -> Draws:
        """How often each patient counts (1 + number + groups, P).

        The first is the test itself; then those with replacement; then the test without each group of
        patients (of one, where there are no more than 200), from which follows how skewed a figure is.
        """
        generator = np.random.default_rng(self.seed)
        share = np.full(self.patients, 1 / self.patients)
        drawn = generator.multinomial(self.patients, share, self.number)
        without = np.ones((self._groups, self.patients), np.int64)
        if self._groups:
            without[np.arange(self.patients) % self._groups, np.arange(self.patients)] = 0
        return np.vstack([np.ones(self.patients, np.int64), drawn, without])

    @property
    def _groups(self) -> int:
        return min(self.patients, _MOST_GROUPS) if self.number else 0

    def interval(self, figures: Numbers, spread: float = 1.0) -> Interval | None:
        """Return the interval of a figure; None where there is none.

        A share that is 0 in every draw may hide a few successes, and how many is not known of a figure in any
        unit: there is none.

        Args:
            figures: The figure in each of the draws.
            spread: See `MetricSet.spreads`.
        """
        return self.interval_of_difference(figures, spread) if figures.any() else None

    def interval_of_difference(self, gains: Numbers, spread: float = 1.0) -> Interval | None:
        """Return the interval of what two runs differ by, which may be 0 in every draw; as `interval`."""
        found = self.confidence(gains, np.array([_TAIL, 1 - _TAIL]), spread)
        return None if found is None else (float(found[0]), float(found[1]))

    def interval_of_mean(self, mean: float, parts: Numbers) -> Interval | None:
        """Return the interval of a mean of values that are not below 0; None where there is none.

        Args:
            mean: As it is reported; in another unit than the parts, maybe.
            parts: What each patient adds to its sum and to its count (P, 2).
        """
        drawn = self.draws[: self.number + 1]
        total, count = (drawn @ parts).T
        squares, products, counts = (drawn @ (parts[:, [0, 0, 1]] * parts[:, [0, 1, 1]])).T
        with np.errstate(divide="ignore", invalid="ignore"):
            means = total / count
            variances = squares - 2 * means * products + means**2 * counts  # of a sum less mean times count
            deviations = np.sqrt(np.maximum(variances, 0.0)) / count
            away = (means[1:] - means[0]) / deviations[1:]
        away = away[np.isfinite(away)]
        if not means[0] > 0 or not len(away):
            return None
        tails = self._expanded(np.array([1 - _TAIL])) / _DEVIATE * np.quantile(away, (1 - _TAIL, _TAIL))
        ends = means[0] - deviations[0] * tails
        low, high = np.maximum(ends, 0.0) * (mean / means[0])
        return float(low), float(high)

    def confidence(self, figures: Numbers, levels: Numbers, spread: float = 1.0) -> Numbers | None:
        """Return below which value the true figure is with each confidence (n,); None where that is unknown.

        Args:
            figures: The figure in each of the draws.
            levels: Of confidence, between 0 and 1 (n,).
            spread: See `MetricSet.spreads`.
        """
        value, drawn = figures[0], figures[1 : self.number + 1]
        drawn = drawn[~np.isnan(drawn)]
        if np.isnan(value) or not len(drawn):
            return None
        if np.ptp(drawn) == 0:
            return self._without_spread(float(value), levels)
        moved = _Correction.of(value, drawn, figures[self.number + 1 :])
        found: Numbers = np.percentile(drawn, 100 * moved(self._expanded(levels)))
        return found if spread == 1 else value + spread * (found - value)

    def _expanded(self, levels: Numbers) -> Numbers:
        """Return normal deviates as wide as Student's t with this many patients has them."""
        from scipy.stats import t  # noqa: PLC0415 (the coordinator needs no draws)

        factor = sqrt(self.patients / (self.patients - 1))
        deviates: Numbers = factor * t.ppf(levels, self.patients - 1)
        return deviates

    def _without_spread(self, value: float, levels: Numbers) -> Numbers:
        """Return the same of what no draw changes: perfection may hide a few errors ('rule of three')."""
        if value != 1:
            return np.full(len(levels), value)
        return np.where(levels < 1 / 2, levels ** (1 / self.patients), 1.0)


@dataclass(frozen=True)
class _Correction:
    """Where the percentile of a bootstrap is that a normal deviate stands for (Efron 1987, equation 2.3).

    Attributes:
        bias: Deviate of the share of the draws that are below the figure itself.
        acceleration: A sixth of the skewness of what each group of patients brings.
    """

    bias: float
    acceleration: float

    @classmethod
    def of(cls, value: float, drawn: Numbers, without: Numbers) -> Self:
        from scipy.special import ndtri  # noqa: PLC0415

        below = ((drawn < value).sum() + (drawn == value).sum() / 2 + 0.5) / (len(drawn) + 1)
        known = without[~np.isnan(without)]
        brought = known.mean() - known if len(known) else np.zeros(1)
        size = (brought**2).sum() ** 1.5
        return cls(float(ndtri(below)), float((brought**3).sum() / (6 * size)) if size > 0 else 0.0)

    def __call__(self, deviates: Numbers) -> Numbers:
        from scipy.special import ndtr  # noqa: PLC0415

        moved = self.bias + deviates
        found: Numbers = ndtr(self.bias + moved / np.maximum(1 - self.acceleration * moved, 1e-6))
        return found
