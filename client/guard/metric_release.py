"""What of one site's own metric states may leave: nothing that fewer than `min_group` patients are behind.

It is for states that leave as they are. Behind the masks of secure aggregation the coordinator sees their sum
alone, and `MetricSet.fold` bounds that.

A number that too few patients are behind is withheld together with those from which it could be told:

- Neighbouring bins of a class's scores are merged until each has enough patients of the class, or none, and
  enough of the others, or none. A class that is left with fewer than five such bins has no curve.
- Every image is of one class, so the others would tell the size of one that is withheld alone: the next
  smallest one goes with it.
- Counts of patients leave only if enough patients, or none, are in each of their cells: the decisions of all
  classes together, and of a structure what was found, missed and added.
- Where an image may have any number of samples in a bin (boxes), each patient's number is cut to a range
  that enough patients set.
- No bound of merged bins is so near to the decision that too few patients lie between the two.
- Calibration does not leave: its bins cut the scores at other places, and so would tell who lies between.
- What is left of counts has noise (`Bounds.counts`): a made model moves one patient from one large group to
  another, and what the others do is known from the round before.

Sums of losses, of Dice, of voxels and of distances are bounded before, as in masked sums (`bounded_sums.py`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from client.guard.bounds import Bounds, Counts, Names
from shared.metrics.cells import Cells
from shared.metrics.curves import bins_for
from shared.metrics.histograms import CalibrationBins, Histograms, Scores
from shared.metrics.states import Mean, MetricSet, Totals
from shared.metrics.summed_states import states_of

LEAST_BINS = 5  # of a curve: fewer would make a wrong figure of it

Mask = NDArray[np.bool_]


def withhold(metrics: MetricSet, bounds: Bounds, most_bins: int) -> None:
    """Take out of a site's metrics what too few patients are behind; with `min_group = 1` nothing changes.

    Args:
        metrics: With the images of one split, of which at least `min_group` patients are.
        bounds: Of the site.
        most_bins: Largest number of bins of scores that the job asks for.

    Raises:
        TypeError: It is not known how many patients are behind the counts of a metric.
    """
    least = bounds.least
    if least <= 1:
        return
    scores, cells = metrics.scores(), list(metrics.cells())
    require_known(metrics, scores, cells)
    for told in cells:
        if not _are_groups(told.patients, least):
            for name in told.metrics:
                _clear(metrics, name, told.column)
    if _has_counts(metrics, cells):
        metrics.recount(partial(_recounted, bounds))
    for name, metric in metrics.metrics.items():
        if isinstance(metric, CalibrationBins):
            _clear(metrics, name)
    _all_curves(metrics, scores, bounds, most_bins)


def _all_curves(metrics: MetricSet, scores: Mapping[str, Scores], bounds: Bounds, most_bins: int) -> None:
    found = {name: one for name, one in metrics.metrics.items() if isinstance(one, Histograms)}
    bounds = replace(bounds, looks=sum(len(one.positives) for one in found.values()))
    for name, histograms in found.items():
        for k in _curves(histograms, scores[name], bounds, most_bins):
            for other in scores[name].beside:
                _clear(metrics, other, k)


def require_known(metrics: MetricSet, scores: Collection[str], cells: Iterable[Cells]) -> None:
    """Check that it is known of each metric what of it may leave.

    Raises:
        TypeError: It is not.
    """
    counted = {name for told in cells for name in told.metrics}
    for name, metric in metrics.metrics.items():
        is_known = isinstance(metric, Mean | Totals | CalibrationBins)
        if not is_known and name not in counted and not (isinstance(metric, Histograms) and name in scores):
            raise TypeError(f"{type(metrics).__name__}: not known whose patients are behind '{name}'")


def _has_counts(metrics: MetricSet, cells: Iterable[Cells]) -> bool:
    """Say if cells tell of numbers that were not bounded as means and totals are."""
    names = {name for told in cells for name in told.metrics}
    return any(not isinstance(metrics.metrics[name], Mean | Totals) for name in names)


def _recounted(
    bounds: Bounds, patients: Names, cells: NDArray[np.integer], number: int, looks: int
) -> Counts:
    """Return how many images are told to be in each of the cells; a `shared.metrics.states.Recount`."""
    names, codes = np.unique(patients, return_inverse=True)
    images = np.zeros((len(names), number), np.int64)
    np.add.at(images, (codes, cells.astype(np.int64)), 1)
    return _told(replace(bounds, looks=looks), names, images)


def _told(bounds: Bounds, names: Names, samples: Counts) -> Counts:
    """Return how many samples are told to be in each cell, given those of each patient (P, cells).

    A cell where nobody is has none: enough patients are in all others.
    """
    there = np.flatnonzero(samples.sum(axis=0))
    told = np.zeros(samples.shape[1], np.int64)
    told[there] = bounds.counts(names, samples[:, there])
    return told


def _curves(histograms: Histograms, scores: Scores, bounds: Bounds, most_bins: int) -> Sequence[int]:
    """Merge the bins of each class, and return the classes that are withheld."""
    names, codes = np.unique(scores.patients, return_inverse=True)
    truth, most, least = scores.truth, bins_for(most_bins, len(names)), bounds.least
    runs = [
        _runs(Scored.of(scores, codes, k), histograms.positives.shape[1], least, most)
        for k in range(truth.shape[1])
    ]
    withheld = [
        k
        for k, found in enumerate(runs)
        if len(found) < LEAST_BINS or not truth[:, k].any() or truth[:, k].all()
    ]
    if scores.exclusive:
        withheld = _with_complement(withheld, truth, codes, least)
    shown = [[] if k in withheld else own for k, own in enumerate(runs)]
    fill(histograms, scores, shown, least, partial(_told, bounds))
    return withheld


def fill(
    histograms: Histograms,
    scores: Scores,
    runs: Sequence[Sequence[tuple[int, int]]],
    least: int,
    count: Callable[[Names, Counts], Counts],
) -> None:
    """Count each run of bins in its middle.

    Where a patient may have any number of samples, each counts within a range beyond either end of which
    fewer than `least` patients lie, those without a sample among them.

    Args:
        histograms: Filled anew.
        scores: Whose they are.
        runs: Of each class: first and last bin of each run, of all bins in order, or of none.
        least: Patients that are enough.
        count: (patients (P,), samples of each in each run (P, runs)) -> samples that are told (runs,).
    """
    names = np.unique([*scores.patients, *scores.judged])
    codes = np.searchsorted(names, scores.patients)
    for counts in (histograms.positives, histograms.negatives):
        counts.zero_()
    for k, own in enumerate(runs):
        within = np.searchsorted([first for first, _ in own], scores.bins[:, k], side="right") - 1
        middles, truth = [(first + last) // 2 for first, last in own], scores.truth[:, k]
        for counts, kind in ((histograms.positives, truth), (histograms.negatives, ~truth)):
            if not own or not kind.any():
                continue
            samples = np.zeros((len(names), len(own)), np.int64)
            np.add.at(samples, (codes[kind], within[kind]), 1)
            if scores.several:
                samples = np.stack([_cut(of_run, least) for of_run in samples.T], axis=1)
            counts[k, middles] = torch.from_numpy(count(names, samples))


def _cut(counts: Counts, least: int) -> Counts:
    """Return the counts of patients, cut to a range beyond either end of which fewer than `least` lie.

    One sample of each patient always counts, as an image does where it is of one class.
    """
    ordered = np.sort(counts)
    beyond = min(least - 1, (len(ordered) - 1) // 2)
    return counts.clip(ordered[beyond], max(1, ordered[-1 - beyond]))


def _with_complement(withheld: Sequence[int], truth: Mask, codes: NDArray[np.int64], least: int) -> list[int]:
    """Return classes to withhold such that the images of all of them together are of enough patients."""
    chosen = list(withheld)
    smallest_first = sorted(range(truth.shape[1]), key=lambda k: int(truth[:, k].sum()))
    for k in smallest_first:
        if not chosen or _enough(codes[truth[:, chosen].any(axis=1)], least, empty=False):
            break
        if k not in chosen:
            chosen.append(k)
    return chosen


@dataclass(frozen=True)
class Scored:
    """The scores of one class.

    Attributes:
        bins: Of each image (N,).
        truth: Whether it is of the class (N,).
        decided: Whether it was taken for one (N,); None where nothing that leaves tells.
        codes: Numbers of the patients (N,).
    """

    bins: NDArray[np.int64]
    truth: Mask
    decided: Mask | None
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Scores, codes: NDArray[np.int64], k: int) -> Self:
        """Return those of one class."""
        decided = None if scores.decided is None else scores.decided[:, k]
        return cls(scores.bins[:, k], scores.truth[:, k], decided, codes)

    def patients(self, inside: Mask) -> list[int]:
        """Return how many patients of the class are inside, and how many others."""
        return [len(np.unique(self.codes[inside & kind])) for kind in (self.truth, ~self.truth)]

    def told_between(self, first: int, least: int) -> bool:
        """Say if the bins from `first` on and the decisions together tell of too few patients.

        Where one is within the other, the difference of their counts is that of the patients between.
        """
        if self.decided is None:
            return False
        above = self.bins >= first
        more, less = self.patients(above & ~self.decided), self.patients(self.decided & ~above)
        return any(0 in pair and 0 < max(pair) < least for pair in zip(more, less, strict=True))


def _runs(scored: Scored, length: int, least: int, most: int) -> list[tuple[int, int]]:
    """Cut the bins into runs in each of which enough patients, or none, are of the class, and not of it.

    What is merged is put in the middle of its run, wherever in it the scores are: a mean of them would tell
    where an outlier is.

    Args:
        scored: The images.
        length: Number of bins.
        least: Patients that are enough.
        most: Largest number of runs.

    Returns:
        First and last bin of each run, all bins in order; nothing where even all of them have too few.
    """
    bins = scored.bins
    if not _is_run(scored.patients(bins >= 0), least):
        return []
    inner: list[int] = []  # first bins of all runs but the first
    begin = 0
    for bin_ in np.unique(bins).tolist():
        if _is_run(scored.patients((bins >= begin) & (bins <= bin_)), least):
            begin = bin_ + 1
            inner.append(begin)
    while inner and not _is_run(scored.patients(bins >= inner[-1]), least):
        inner.pop()  # what is left over goes to the run before
    inner = [first for first in inner if not scored.told_between(first, least)]
    if len(inner) >= most:
        inner = [inner[len(inner) * i // most] for i in range(1, most)]
    return list(zip([0, *inner], [*(first - 1 for first in inner), length - 1], strict=True))


def _is_run(groups: Sequence[int], least: int) -> bool:
    return any(groups) and _are_groups(groups, least)


def _are_groups(patients: Sequence[int] | NDArray[np.int64], least: int) -> bool:
    return all(count == 0 or count >= least for count in patients)


def _enough(codes: NDArray[np.int64], least: int, *, empty: bool = True) -> bool:
    count = len(np.unique(codes))
    return count >= least or (empty and count == 0)


def _clear(metrics: MetricSet, name: str, column: int | None = None) -> None:
    for _, _, state in states_of({name: metrics.metrics[name]}):
        state[... if column is None else (..., column)] = 0
