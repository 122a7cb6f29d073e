"""AUROC and average precision from few bins: histograms of scores, which add up over sites.

A score is the logit of a class's probability. Edges (K, B - 1) cut the scores of each of K classes into B
bins; the histograms count the images in each bin, those of the class and the others apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PATIENTS_PER_BIN = 10
LARGEST_EDGE = 100.0  # probabilities of 1e-43 and 1 - 1e-43: beyond them scores are told apart by nothing
_FIRST_RANGE = 10.0


def bins_for(asked: int, patients: int) -> int:
    """Return the number of bins of a histogram: at most one per 10 patients of what is released.

    Args:
        asked: What the job asks for.
        patients: Behind the histogram: of the sum where masks hide its parts, otherwise of the site.
    """
    return max(1, min(asked, patients // PATIENTS_PER_BIN))


def first_edges(classes: int, bins: int) -> Floats:
    """Return the edges (classes, bins - 1) of a first evaluation: evenly spaced logits.

    Evenly spaced probabilities would throw together the many scores near 0 and 1.
    """
    row = np.linspace(-_FIRST_RANGE, _FIRST_RANGE, bins + 1)[1:-1]
    return np.tile(row, (classes, 1))


def check_edges(edges: NDArray[np.generic], classes: int, most: int) -> Floats:
    """Return edges that came from elsewhere, as float64.

    Args:
        edges: Anything.
        classes: Rows that they must have.
        most: Largest number of bins.

    Raises:
        ValueError: They have another shape or type, a number that is not finite or too large, or are not
            strictly increasing.
    """
    if edges.dtype != np.float64 or edges.ndim != 2 or edges.shape[0] != classes:
        raise ValueError(f"edges of bins: expected ({classes}, n) float64, got {edges.shape} {edges.dtype}")
    if edges.shape[1] >= most:
        raise ValueError(f"edges of bins: {edges.shape[1] + 1} bins, of which {most} are allowed here")
    checked = edges.astype(np.float64)
    if not (np.abs(checked) <= LARGEST_EDGE).all():  # NaN is not
        raise ValueError(f"edges of bins: a number is beyond {LARGEST_EDGE:g} or not finite")
    if not (np.diff(checked, axis=1) > 0).all():
        raise ValueError("edges of bins: a row is not strictly increasing")
    return checked


@dataclass(frozen=True)
class Curves:
    """The summed histograms of one evaluation.

    Attributes:
        edges: (K, B - 1), increasing.
        positives: Images of the class in each bin (K, B), from low scores to high ones.
        negatives: Images of the others (K, B).
    """

    edges: Floats
    positives: Counts
    negatives: Counts

    def auroc(self) -> Floats:
        """Return the area under the ROC curve of each class (K,); NaN where one side is empty."""
        below = np.cumsum(self.negatives, axis=1) - self.negatives / 2
        pairs = self.positives.sum(axis=1, dtype=np.float64) * self.negatives.sum(axis=1)
        with np.errstate(invalid="ignore"):
            area: Floats = (self.positives * below).sum(axis=1) / pairs
        return area if self.positives.shape[1] > 1 else np.full_like(area, np.nan)

    def average_precision(self) -> Floats:
        """Return the average precision of each class (K,); NaN for a class that does not occur."""
        rows = zip(self.positives, self.negatives, strict=True)
        found = np.array([_average_precision(positives, negatives) for positives, negatives in rows])
        return found if self.positives.shape[1] > 1 else np.full_like(found, np.nan)


def _average_precision(positives: Counts, negatives: Counts) -> float:
    """Return the mean precision at the positives, which lie evenly among the negatives of their bin."""
    total, above, wrong = 0.0, 0, 0
    for inside, others in zip(positives[::-1], negatives[::-1], strict=True):
        rank = np.arange(1, inside + 1)
        right = above + rank
        total += float((right / (right + wrong + others * rank / (inside + 1))).sum())
        above, wrong = above + int(inside), wrong + int(others)
    return total / above if above else np.nan
