"""Sums over patients that no few of them steer: what a site tells of real-valued metrics, masked or not.

A model can be made that gives one patient's image any value, and everybody else's a known one. The exact
sum is then a number about that patient. So every sum that is no count of images leaves like this:

1. Each patient's value is the mean over their images. All are cut to a range that `min_group` patients set:
   fewer than so many lie beyond either end. The ends are rungs of a fixed ladder: of the patient at the end
   it is told only between which two rungs they lie.
2. Noise is added, of which three standard deviations are what `min_group` patients could move the sum within
   the range. Where one patient lies between two groups of others, the range alone would not hide them.

The noise comes from the site's cohort key and from all values themselves: the same question has the same
answer, and of two that differ by one patient's value neither tells the other's noise.

With `min_group = 1` sums are exact. It is no differential privacy: the range depends on the patients.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from client.metric_release import fill, require_known
from shared.histograms import CalibrationBins, Histograms, runs
from shared.metrics import Mean, MetricSet, Totals
from shared.patient_values import PatientValues

_FINE = 64  # rungs of a unit, for values in 0..1
_OCTAVE = 8  # rungs to a doubling, for others
_SMALLEST = 2.0**-20  # what is nearer to zero is between zero and this
_DEVIATIONS = 3.0  # of the noise that are what `min_group` patients could move

Floats = NDArray[np.float64]
Noise = Callable[[str], int]
"""Turns the digest of what is asked into a seed that nobody outside of the site can tell."""


@dataclass(frozen=True)
class Bounds:
    """How a site bounds its sums.

    Attributes:
        least: The policy's `min_group`.
        noise: Gives seeds.
    """

    least: int
    noise: Noise

    def column(self, what: str, values: PatientValues, column: int, largest: float) -> float:
        """Return the bounded sum of one column of values; 0 where fewer than `least` patients have any.

        Args:
            what: Name of the sum; each has noise of its own.
            values: Of all patients.
            column: Of them.
            largest: Largest absolute value of one image, or, where each patient counts once, of one patient
                on average.
        """
        counts = values.counts[:, column]
        of_these = counts > 0
        patients, counts = int(of_these.sum()), counts[of_these]
        if patients < self.least:
            return 0.0
        means = self._finite(values.sums[of_these, column] / counts, largest)
        low, high = self._range(means, largest)
        total = float((counts * means.clip(low, high)).sum())
        move = float(counts.max()) * (high - low) * self.least
        digest = hashlib.sha256(f"{what}\x1f{column}\x1f{values.patients[of_these].tolist()}".encode())
        digest.update(means.tobytes())
        noise = self.drawn(digest.hexdigest()) * move / _DEVIATIONS
        return float(np.clip(total + noise, 0.0, largest * counts.sum()))

    def drawn(self, digest: str) -> float:
        """Return the standard normal number that goes with what is asked."""
        return float(np.random.default_rng(self.noise(digest)).standard_normal())

    def _finite(self, values: Floats, largest: float) -> Floats:
        """Take what is no number for the largest one, where it is of so few patients that it would tell."""
        broken = ~np.isfinite(values)
        return np.where(broken, largest, values) if broken.sum() < self.least else values

    def _range(self, values: Floats, largest: float) -> tuple[float, float]:
        ordered = np.sort(values)
        beyond = min(self.least - 1, (len(ordered) - 1) // 2)
        low, high = ordered[[beyond, -1 - beyond]]
        return rung(low, largest, np.floor), rung(high, largest, np.ceil)


def bound(metrics: MetricSet, bounds: Bounds, bins: int) -> None:
    """Replace every sum that one patient could steer by its bounded one; counts of images stay.

    Args:
        metrics: With the images of one split, whose bins are folded already.
        bounds: Of the site; with `min_group = 1` nothing changes.
        bins: Largest number of bins that are left.

    Raises:
        TypeError: It is not known of a metric what one patient adds to it.
    """
    if bounds.least <= 1:
        return
    scores = metrics.scores()
    require_known(metrics, scores, metrics.cells())
    metrics.settle()
    for name, metric in metrics.metrics.items():
        if isinstance(metric, CalibrationBins):
            metric.centre(bins)
        elif isinstance(metric, Histograms) and scores[name].several:
            merged = [(first, end - 1) for first, end in runs(metric.positives.shape[1], bins)]
            fill(metric, scores[name], [merged] * len(metric.positives), bounds.least)
        elif isinstance(metric, Mean):
            _bound_mean(metrics, name, metric, bounds)
        elif isinstance(metric, Totals):
            _bound_totals(metrics, name, metric, bounds)


def _bound_mean(metrics: MetricSet, name: str, mean: Mean, bounds: Bounds) -> None:
    values, largest = metrics.values(name), metrics.limit(name, "total")
    for column in range(values.sums.shape[1]):
        mean.total[column] = bounds.column(name, values, column, largest)
        if np.count_nonzero(values.counts[:, column]) < bounds.least:
            mean.count[column] = 0


def _bound_totals(metrics: MetricSet, name: str, totals: Totals, bounds: Bounds) -> None:
    """Bound whole numbers added up over patients, such as voxels; they stay whole."""
    of_images = metrics.values(name)
    values = replace(of_images, counts=np.ones_like(of_images.counts))  # of a patient, not of an image
    images = float(of_images.counts[:, 0].sum())
    largest = images * metrics.limit(name, "total") / len(values.patients)
    told = [round(bounds.column(name, values, column, largest)) for column in range(values.sums.shape[1])]
    totals.total.copy_(torch.tensor(told).reshape(totals.total.shape))


def rung(value: float, largest: float, to_whole: Callable[[float], float]) -> float:
    """Return the next rung of the ladder, downwards or upwards.

    Values in 0..1 have rungs a 64th apart, others eight to a doubling, on both sides of zero.

    Args:
        value: Anything.
        largest: Largest absolute value that an image can have.
        to_whole: `np.floor` or `np.ceil`.
    """
    if largest <= 1:
        return float(to_whole(value * _FINE) / _FINE)
    if value < 0:
        return -rung(-value, largest, np.ceil if to_whole is np.floor else np.floor)
    if value < _SMALLEST:
        return 0.0 if to_whole is np.floor or value == 0 else _SMALLEST
    return float(2.0 ** (to_whole(np.log2(value) * _OCTAVE) / _OCTAVE))
