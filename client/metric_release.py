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
- Bins of calibration are merged likewise: those who were right, those who were wrong.
- A structure leaves only if enough patients, or none, have voxels of it that were found, missed and added.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.curves import bins_for
from shared.metrics import MetricSet, states_of
from shared.metrics_classification import ClassificationMetrics, Judged
from shared.metrics_segmentation import SegmentationMetrics

LEAST_BINS = 5  # of a curve: fewer would make a wrong figure of it
_DISTANCES = ("hd95", "hd95_undefined", "surface_dice")

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
    most = bins_for(metrics.job.evaluation.bins, int(codes.max()) + 1)
    if not _decisions_may_leave(images, codes, least):
        _clear(metrics, "decisions")
    _calibration(metrics, images, codes, least, most)
    _curves(metrics, images, codes, least, most)


def _decisions_may_leave(images: Judged, codes: NDArray[np.int64], least: int) -> bool:
    kinds, taken = (images.truth, ~images.truth), (images.decided, ~images.decided)
    cells = [truth & decided for truth in kinds for decided in taken]
    return all(_enough(codes[cell[:, k]], least) for cell in cells for k in range(cell.shape[1]))


def _curves(
    metrics: ClassificationMetrics, images: Judged, codes: NDArray[np.int64], least: int, most: int
) -> None:
    truth = images.truth[:, metrics.judged]
    runs = [_runs(images.bins[:, k], truth[:, k], codes, least, most) for k in range(truth.shape[1])]
    withheld = [
        k
        for k, found in enumerate(runs)
        if len(found) < LEAST_BINS or not truth[:, k].any() or truth[:, k].all()
    ]
    if not metrics.job.data.multi_label:
        withheld = _with_complement(withheld, truth, codes, least)
    _clear(metrics, "curves")
    positives, negatives = (state for _, _, state in states_of({"curves": metrics.metrics["curves"]}))
    for k in set(range(len(runs))) - set(withheld):
        for run in runs[k]:
            inside = np.isin(images.bins[:, k], run)
            place = round(float(images.bins[inside, k].mean()))
            positives[k, place] = int((inside & truth[:, k]).sum())
            negatives[k, place] = int((inside & ~truth[:, k]).sum())


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


def _calibration(
    metrics: ClassificationMetrics, images: Judged, codes: NDArray[np.int64], least: int, most: int
) -> None:
    labels = images.confidence.shape[1]
    bins, right = images.confidence.ravel(), images.right.ravel()
    runs = _runs(bins, right, np.repeat(codes, labels), least, most)
    states = [state for _, _, state in states_of({"calibration": metrics.metrics["calibration"]})]
    merged = [[state[list(run)].sum() for run in runs] for state in states]
    _clear(metrics, "calibration")
    for state, sums in zip(states, merged, strict=True):
        for run, total in zip(runs, sums, strict=True):
            state[run[len(run) // 2]] = total


def _segmentation(metrics: SegmentationMetrics, least: int) -> None:
    voxels = torch.stack(list(metrics.patients.values())).numpy() > 0  # (P, 3, structures)
    metrics.settle()
    for structure in range(voxels.shape[2]):
        if not _are_groups(voxels[:, :, structure].sum(axis=0), least):
            _clear_structure(metrics, structure, [name for name in metrics.metrics if name != "loss"])
    if not metrics.distances:
        return
    kinds = torch.stack(list(metrics.distances.values())).numpy() > 0
    for structure in range(kinds.shape[2]):
        if not _are_groups(kinds[:, :, structure].sum(axis=0), least):
            _clear_structure(metrics, structure, _DISTANCES)


def _clear_structure(metrics: SegmentationMetrics, structure: int, names: Sequence[str]) -> None:
    for name in names:
        for _, _, state in states_of({name: metrics.metrics[name]}):
            state[..., structure] = 0


def _runs(
    bins: NDArray[np.int64], kind: Mask, codes: NDArray[np.int64], least: int, most: int
) -> list[list[int]]:
    """Return runs of neighbouring bins in each of which enough patients, or none, are of either kind.

    Args:
        bins: Of each image (N,).
        kind: Whether it is of one kind or of the other (N,).
        codes: Numbers of the patients (N,).
        least: Patients that are enough.
        most: Largest number of runs.

    Returns:
        The occupied bins of each run, ascending; nothing where even all bins together have too few.
    """
    of = {
        int(bin_): (set(codes[(bins == bin_) & kind].tolist()), set(codes[(bins == bin_) & ~kind].tolist()))
        for bin_ in np.unique(bins)
    }
    runs: list[list[int]] = []
    open_: list[int] = []
    for bin_ in of:
        open_.append(bin_)
        if _are_groups(_patients(of, open_), least):
            runs.append(open_)
            open_ = []
    while open_ and runs:  # what is left over goes to the run before, and to more if need be
        open_ = runs.pop() + open_
        if _are_groups(_patients(of, open_), least):
            runs.append(open_)
            open_ = []
    shares = np.array_split(np.arange(len(runs)), min(most, len(runs)) or 1)
    return [[bin_ for i in share for bin_ in runs[i]] for share in shares if len(share)]


def _patients(of: dict[int, tuple[set[int], set[int]]], run: Sequence[int]) -> list[int]:
    return [len(set().union(*(of[bin_][kind] for bin_ in run))) for kind in (0, 1)]


def _are_groups(patients: Sequence[int] | NDArray[np.int64], least: int) -> bool:
    return all(count == 0 or count >= least for count in patients)


def _enough(codes: NDArray[np.int64], least: int, *, empty: bool = True) -> bool:
    count = len(np.unique(codes))
    return count >= least or (empty and count == 0)


def _clear(metrics: MetricSet, name: str) -> None:
    for _, _, state in states_of({name: metrics.metrics[name]}):
        state.zero_()
