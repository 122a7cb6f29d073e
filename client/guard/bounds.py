"""Numbers over patients that no few of them steer: the range, the noise and the counts of one site.

What is drawn comes from the site's cohort key, the request, and all values: a request that is asked again has
the same answer, and of two requests neither tells the other's noise.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.metrics.patient_values import PatientValues

_FINE = 64  # rungs of a unit, for values in 0..1
_OCTAVE = 8  # rungs to a doubling, for others
_SMALLEST = 2.0**-20  # what is nearer to zero is between zero and this
_ENDS = 4  # patients more, or fewer, who may be the end of the range where there are hardly enough
_MOST_CELLS = 64  # of a column
_DEVIATIONS = 3.0  # of the noise that are what `min_group` patients could move

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Names = NDArray[np.str_]
Noise = Callable[[str], int]
"""Turns the digest of what is asked into a seed that nobody outside of the site can tell."""


@dataclass(frozen=True)
class Bounds:
    """How a site bounds what it tells of its patients.

    Attributes:
        least: The policy's `min_group`.
        noise: Gives seeds.
        looks: Numbers that are told together, one for each structure or class: a model can be made that shows
            one patient in all of them, so the noise of each grows with the root of their number.
        moved: Patients whose values one patient's images can move, at most: where samples are pairs, also
            those of all whose partner they are.
    """

    least: int
    noise: Noise
    looks: int = 1
    moved: int = 1
    beside: int = 1

    @property
    def needed(self) -> int:
        """Fewest patients of whom a sum is told: those who lie beyond either end of the range, and one."""
        return self.least if self.moved == 1 else 2 * self._beyond + 1

    @property
    def _beyond(self) -> int:
        """Patients of whom one patient can't move all: those who are moved, and `least` - 1 others."""
        return self.least - 1 + self.moved

    def column(
        self, what: str, values: PatientValues, column: int, largest: float, *, signed: bool = False
    ) -> float:
        """Return the bounded sum of one column of values; 0 where fewer than `needed` patients have any.

        Args:
            what: Name of the sum; each has noise of its own.
            values: Of all patients.
            column: Of them.
            largest: Largest absolute value of one image, or, where each patient counts once, of one patient
                on average.
            signed: Whether values may be below 0; the sums of others are not told below it.
        """
        counts = values.counts[:, column]
        of_these = counts > 0
        patients, counts = values.patients[of_these], counts[of_these]
        if len(patients) < self.needed:
            return 0.0
        means = self._finite(values.sums[of_these, column] / counts, largest)
        draw = self._generator(f"{what} {column}", patients, counts, means)
        low, high = self._range(means, largest, draw)
        total = float((counts * means.clip(low, high)).sum())
        noise = draw.standard_normal() * self.deviation(counts) * (high - low)
        most = largest * counts.sum()
        return float(np.clip(total + noise, -most if signed else 0.0, most))

    def whole(self, what: str, values: PatientValues, column: int, reach: float, most: float) -> float:
        """Return the sum of a column whose values compare each patient with the others, with noise.

        No range of the others bounds what one patient moves: it is known beforehand, whatever the values.

        Args:
            what: Name of the sum; each has noise of its own.
            values: Of all patients.
            column: Of them.
            reach: The most by which one patient can move the sum.
            most: Largest sum.
        """
        sums = values.sums[:, column]
        draw = self._generator(f"{what} {column}", values.patients, values.counts[:, column], sums)
        noise = draw.standard_normal() * reach * self.least / _DEVIATIONS * (self.looks * self.beside) ** 0.5
        return float(np.clip(sums.sum() + noise, 0.0, most))

    def mean(self, what: str, values: Floats, largest: float) -> float:
        """Return a mean over patients that no few of them steer, of values on both sides of zero.

        Values are measured from the rung below all but a few: the rungs are finer the nearer they are, and
        years are far from zero.

        Args:
            what: Name of the mean; each has noise of its own.
            values: One for each patient (P,), finite; of at least `least` patients.
            largest: Largest absolute value.
        """
        if self.least <= 1:
            return float(values.mean())
        names = [f"{number:08d}" for number in range(len(values))]  # what is told depends on no name
        start, _ = self._range(values, largest, self._generator(f"{what} start", np.array(names), values))
        counted = np.ones((len(values), 1), np.bool_)
        of_patients = PatientValues.of(names, values[:, None] - start, counted)
        return start + self.column(what, of_patients, 0, 2 * largest, signed=True) / len(values)

    def counts(self, patients: Names, images: Counts) -> Counts:
        """Return how many images are told to be in each cell (cells,); their sum is exact.

        Args:
            patients: Their names (P,).
            images: Of each patient in each cell (P, cells).
        """
        exact = images.sum(axis=0)
        if len(exact) < 2:
            return exact
        draw = self._generator("counts", patients, images)
        noise = draw.standard_normal(len(exact)) * self.deviation(images.sum(axis=1))
        told = (exact + noise - noise.mean()).clip(0.0)
        if not told.any():
            return exact
        ends = np.rint(np.cumsum(told) * exact.sum() / told.sum())
        return np.diff(ends, prepend=0.0).astype(np.int64)

    def cells(self, values: Floats, least: int, largest: float) -> tuple[Floats, Counts]:
        """Cut a column into cells of enough patients, and return how many are told to be in each.

        Of these cells any histogram of the column is made: they depend on the values alone, so that jobs with
        ever other bins learn no more than the first. Cells end on rungs, and how many patients are in one is
        drawn, so that no end tells where one patient is. The first and the last are open.

        Args:
            values: One for each patient (P,), finite; at least `least`.
            least: Fewest patients of a cell.
            largest: Largest absolute value.

        Returns:
            The ends between the cells (C - 1,), ascending, each in the cell below it; the counts (C,), whose
            sum is exact.
        """
        ordered = np.sort(values)
        names = np.array([f"{number:08d}" for number in range(len(ordered))])
        ends = self._cell_ends(names, ordered, max(least, len(ordered) // _MOST_CELLS), largest)
        images = np.zeros((len(ordered), len(ends) + 1), np.int64)
        images[np.arange(len(ordered)), np.searchsorted(ends, ordered)] = 1
        return ends, self.counts(names, images)

    def _cell_ends(self, names: Names, ordered: Floats, least: int, largest: float) -> Floats:
        draw, first, ends = self._generator("cells", names, ordered), 0, list[float]()
        while len(ordered) - first >= 2 * least:
            last = float(ordered[first + int(draw.integers(least, 2 * least)) - 1])
            end = max(rung(last, largest, np.ceil), last)
            first = int(np.searchsorted(ordered, end, side="right"))
            if len(ordered) - first < least:
                break
            ends.append(end)
        return np.array(ends)

    def deviation(self, images: Counts) -> float:
        """Return the standard deviation of the noise for patients with so many images (P,) each.

        What each patient's images have is taken to be within one unit.
        """
        return (
            float(images.max(initial=0))
            * self.moved
            * self.least
            / _DEVIATIONS
            * (self.looks * self.beside) ** 0.5
        )

    def _generator(self, what: str, patients: Names, *numbers: NDArray[np.generic]) -> np.random.Generator:
        digest = hashlib.sha256(f"{what}\x1f{patients.tolist()}".encode())
        for values in numbers:
            digest.update(f"\x1f{values.dtype} {values.shape}".encode() + values.tobytes())
        return np.random.default_rng(self.noise(digest.hexdigest()))

    def _finite(self, values: Floats, largest: float) -> Floats:
        """Take what is not finite for the largest number, where few patients have it: it would tell."""
        broken = ~np.isfinite(values)
        return np.where(broken, largest, values) if broken.sum() < self._beyond else values

    def _range(self, values: Floats, largest: float, draw: np.random.Generator) -> tuple[float, float]:
        """Return between which rungs the values are cut.

        How many patients lie beyond either end is drawn: where it was known, a coordinator could arrange that
        one patient is the end, and see between which rungs they lie by how far the sum goes.
        """
        ordered, middle = np.sort(values), (len(values) - 1) // 2
        fewest, most = min(self.least - 1, max(middle - _ENDS, len(values) // 6)), 2 * self.least - 2
        if self.moved > 1:
            fewest, most = self._beyond, self._beyond + self.least - 1
        below, above = draw.integers(fewest, min(most, middle), 2, endpoint=True)
        low, high = ordered[[below, -1 - above]]
        return rung(low, largest, np.floor), rung(high, largest, np.ceil)


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
