"""What there is to see of a classification: curves, calibration, and what was taken for what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.metrics.curves import Curves
from shared.metrics.figures import Figure, Point, thinned
from shared.metrics.histograms import CalibrationBins
from shared.metrics.replicates import Tables, joined
from shared.tasks.classification.resampled import BINS, DECIDED, TRUTH
from shared.tasks.fields import Field

if TYPE_CHECKING:
    from torch import Tensor

_OUTCOMES = ("found", "missed", "taken for it")


def curve_figures(curves: Curves, label: Field) -> Iterator[Figure]:
    """Yield ROC and precision-recall curves of the judged classes, where their histograms make any."""
    roc: list[Point] = []
    precision: list[Point] = []
    for number, k in enumerate(label.judged):
        found = curves.above(number)
        if found is None:
            continue
        right, wrong = found
        name = label.classes[k]
        roc += [(name, *point) for point in thinned(wrong / wrong[-1], right / right[-1])]
        above = right + wrong > 0
        share = right[above] / (right + wrong)[above]
        precision += [(name, *point) for point in thinned(right[above] / right[-1], share)]
    if not roc:
        return
    yield Figure(
        "roc",
        "ROC curve",
        ("class", "false positive rate", "sensitivity"),
        roc,
        says="Sensitivity against the false positive rate over all thresholds; the diagonal is a guess.",
        unit=True,
        diagonal=True,
    )
    yield Figure(
        "precision-recall",
        "Precision and recall",
        ("class", "recall", "precision"),
        precision,
        says="Precision against recall over all thresholds.",
        unit=True,
    )


def curves_of_patients(sites: Sequence[Tables], edges: NDArray[np.float64], label: Field) -> Curves:
    """Return the histograms of a rehearsal's test, whose bins are as fine as its edges."""
    bins, truth = joined(sites, BINS), joined(sites, TRUTH)[:, label.judged]
    number = edges.shape[1] + 1
    counts = [
        np.stack(
            [np.bincount(own[kind], minlength=number) for own, kind in zip(bins.T, kinds.T, strict=True)]
        )
        for kinds in (truth, ~truth)
    ]
    return Curves(edges, counts[0], counts[1])


def calibration_figures(bins: CalibrationBins) -> Iterator[Figure]:
    """Yield how often answers of a confidence are right; nothing where none is counted."""
    count, confidence, correct = (
        part.double().numpy() for part in (bins.count, bins.confidence, bins.correct)
    )
    some = count > 0
    if not some.any():
        return
    points: list[Point] = [
        ("the model", round(float(along), 5), round(float(up), 5))
        for along, up in zip(confidence[some] / count[some], correct[some] / count[some], strict=True)
    ]
    yield Figure(
        "calibration",
        "Calibration",
        ("answers of", "mean confidence", "share that is right"),
        points,
        says="The share of right answers against their confidence, in bins; on the diagonal both agree.",
        unit=True,
        diagonal=True,
    )


def decision_figures(counts: "Tensor", label: Field) -> Iterator[Figure]:
    """Yield what became of the images of each class.

    Args:
        counts: True and false positives, true and false negatives of each class (K, 4 or more).
        label: The target.
    """
    tp, fp, tn, fn = counts[:, :4].long().unbind(dim=1)
    if not bool((tp + fp + tn + fn).any()):
        return
    if len(label.classes) == 2 and label.exclusive:
        negative, positive = label.classes
        cells = [(negative, negative, tn[1]), (negative, positive, fp[1])]
        cells += [(positive, negative, fn[1]), (positive, positive, tp[1])]
        yield _confusion([(row, column, int(number)) for row, column, number in cells])
        return
    points: list[Point] = [
        (name, outcome, int(number))
        for k, name in enumerate(label.classes)
        for outcome, number in zip(_OUTCOMES, (tp[k], fn[k], fp[k]), strict=True)
    ]
    yield Figure(
        "decisions",
        "What became of each class",
        ("class", "outcome", "images"),
        points,
        "matrix",
        says="Images of each class that were found, that were missed, and others that were taken for it.",
    )


def confusion_of_patients(sites: Mapping[str, Tables], label: Field) -> Iterator[Figure]:
    """Yield which class was taken for which, of more than two: sums that leave a site do not say it."""
    if not label.exclusive or len(label.classes) == 2:
        return
    truth, decided = (joined(list(sites.values()), name).astype(np.int64) for name in (TRUTH, DECIDED))
    pairs: NDArray[np.int64] = truth.T @ decided
    yield _confusion(
        [
            (true, found, int(pairs[i, j]))
            for i, true in enumerate(label.classes)
            for j, found in enumerate(label.classes)
        ]
    )


def _confusion(points: list[Point]) -> Figure:
    return Figure(
        "confusion",
        "Confusion matrix",
        ("true class", "predicted class", "images"),
        points,
        "matrix",
        says="Images by their true class and by the class that the model gave them.",
    )
