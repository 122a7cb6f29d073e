"""What of one site's own metric states may leave: nothing that fewer than `min_group` patients are behind.

It is for states that leave as they are. Behind the masks of secure aggregation the coordinator sees their sum
alone, and `MetricSet.fold` bounds that.

A number that too few patients are behind is withheld together with those from which it could be told:

- Neighbouring bins of a class's scores are merged until each has enough patients of the class, or none, and
  enough of the others, or none. A class that is left with fewer than five such bins has no curve.
- Every image is of one class, so the others would tell the size of one that is withheld alone: the next
  smallest one goes with it.
- The decisions leave only if enough patients, or none, are in every cell of every class: accuracy over some
  of the classes would be a wrong figure.
- No bound of merged bins is so near to the decision that too few patients lie between the two.
- Calibration does not leave: its bins cut the scores at other places, and so would tell who lies between.
- A structure leaves only if enough patients, or none, have voxels of it that were found, missed and added.

Sums of losses, of Dice, of voxels and of distances are bounded before, as in masked sums (`bounded_sums.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared.curves import bins_for
from shared.metrics import MetricSet, states_of
from shared.tasks.classification.metrics import ClassificationMetrics, Judged
from shared.tasks.segmentation.metrics import DISTANCES, SegmentationMetrics

LEAST_BINS = 5  # of a curve: fewer would make a wrong figure of it

Mask = NDArray[np.bool_]


def withhold(metrics: MetricSet, least: int) -> None:
    """Take out of a site's metrics what fewer than `least` patients are behind; with 1 nothing changes.

    Args:
        metrics: With the images of one split, of which at least `least` patients are.
        least: The policy's `min_group`.

    Raises:
        TypeError: The metrics are of a task for which nobody has said what to withhold.
    """
    if least <= 1:
        return
    if isinstance(metrics, ClassificationMetrics):
        _classification(metrics, least)
    elif isinstance(metrics, SegmentationMetrics):
        _segmentation(metrics, least)
    else:
        raise TypeError(f"{type(metrics).__name__}: not known what a site withholds of it")


def _classification(metrics: ClassificationMetrics, least: int) -> None:
    images = metrics.images
    _, codes = np.unique(images.patients, return_inverse=True)
    _clear(metrics, "calibration")
    if not _decisions_may_leave(images, codes, least):
        _clear(metrics, "decisions")
    _curves(metrics, images, codes, least)


def _decisions_may_leave(images: Judged, codes: NDArray[np.int64], least: int) -> bool:
    kinds, taken = (images.truth, ~images.truth), (images.decided, ~images.decided)
    cells = [truth & decided for truth in kinds for decided in taken]
    return all(_enough(codes[cell[:, k]], least) for cell in cells for k in range(cell.shape[1]))


def _curves(metrics: ClassificationMetrics, images: Judged, codes: NDArray[np.int64], least: int) -> None:
    truth, decided = images.truth[:, metrics.judged], images.decided[:, metrics.judged]
    most = bins_for(metrics.job.evaluation.bins, int(codes.max()) + 1)
    runs = []
    for k in range(truth.shape[1]):
        scored = Scored(images.bins[:, k], truth[:, k], decided[:, k], codes)
        runs.append(_runs(scored, metrics.edges.shape[1] + 1, least, most))
    withheld = [
        k
        for k, found in enumerate(runs)
        if len(found) < LEAST_BINS or not truth[:, k].any() or truth[:, k].all()
    ]
    if not metrics.options.multi_label:
        withheld = _with_complement(withheld, truth, codes, least)
    _clear(metrics, "curves")
    positives, negatives = (state for _, _, state in states_of({"curves": metrics.metrics["curves"]}))
    for k in set(range(len(runs))) - set(withheld):
        for first, last in runs[k]:
            inside = (images.bins[:, k] >= first) & (images.bins[:, k] <= last)
            positives[k, (first + last) // 2] = int((inside & truth[:, k]).sum())
            negatives[k, (first + last) // 2] = int((inside & ~truth[:, k]).sum())


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


def _segmentation(metrics: SegmentationMetrics, least: int) -> None:
    voxels = torch.stack(list(metrics.patients.values())).numpy() > 0  # (P, 3, structures)
    for structure in range(voxels.shape[2]):
        if not _are_groups(voxels[:, :, structure].sum(axis=0), least):
            _clear_structure(metrics, structure, [name for name in metrics.metrics if name != "loss"])
    if not metrics.distances:
        return
    kinds = torch.stack(list(metrics.distances.values())).numpy() > 0
    for structure in range(kinds.shape[2]):
        if not _are_groups(kinds[:, :, structure].sum(axis=0), least):
            _clear_structure(metrics, structure, DISTANCES)


def _clear_structure(metrics: SegmentationMetrics, structure: int, names: Sequence[str]) -> None:
    for name in names:
        for _, _, state in states_of({name: metrics.metrics[name]}):
            state[..., structure] = 0


@dataclass(frozen=True)
class Scored:
    """The scores of one class.

    Attributes:
        bins: Of each image (N,).
        truth: Whether it is of the class (N,).
        decided: Whether it was taken for one (N,).
        codes: Numbers of the patients (N,).
    """

    bins: NDArray[np.int64]
    truth: Mask
    decided: Mask
    codes: NDArray[np.int64]

    def patients(self, inside: Mask) -> list[int]:
        """Return how many patients of the class are inside, and how many others."""
        return [len(np.unique(self.codes[inside & kind])) for kind in (self.truth, ~self.truth)]

    def told_between(self, first: int, least: int) -> bool:
        """Say if the bins from `first` on and the decisions together tell of too few patients.

        Where one is within the other, the difference of their counts is that of the patients between.
        """
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


def _clear(metrics: MetricSet, name: str) -> None:
    for _, _, state in states_of({name: metrics.metrics[name]}):
        state.zero_()
