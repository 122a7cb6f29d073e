"""AUROC and average precision from few bins: histograms of scores, which add up over sites.

A score is the logit of a class's probability. Edges (K, B - 1) cut the scores of each of K classes into B
bins; the histograms count the images in each bin, those of the class and the others apart.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PATIENTS_PER_BIN = 10
_ROUNDED = 5  # patients by which a site's number may be too large: it rounds to tens at most
LARGEST_EDGE = 100.0  # probabilities of 1e-43 and 1 - 1e-43: beyond them scores are told apart by nothing
_FIRST_RANGE = 10.0
_SHARE = 0.3  # of the bins that follow the class's own images
_TOP = 0.3  # of the bins that follow the ranks from the top; the others are evenly spaced
_FEW = 7  # bins, below which some that were evenly spaced follow the images that are not of the class
_OTHERS = 0.3  # of the bins: as many
_MARGIN = 0.12  # of the range of the last evaluation's scores, beyond it at either end
_LEAST = 0.5  # logits more: early on a round of training moves the scores far
_OUTLIERS = 0.001  # share of the images at either end that the evenly spaced bins leave out
_GRID = 2001  # points at which the wanted density of edges is added up
_RANKS = 1000  # images of a bin at which precision is taken: also where there are more
_POINTS = 32  # of the curve in each bin
_UNEVEN = 8  # times the images of its neighbour, from which on a bin follows it less


def bins_for(asked: int, patients: int) -> int:
    """Return the number of bins of a histogram: at most one per 10 patients of what is released.

    Args:
        asked: What the job asks for.
        patients: Behind the histogram: of the sum where masks hide its parts, otherwise of the site.
    """
    return max(1, min(asked, patients // PATIENTS_PER_BIN))


def surely_behind(told: Iterable[int]) -> int:
    """Return how many patients there are at least behind the rounded numbers that sites tell."""
    return sum(max(0, count - _ROUNDED) for count in told)


def first_edges(classes: int, bins: int, centre: float = 0.0) -> Floats:
    """Return the edges (classes, bins - 1) of a first evaluation: logits, dense around the centre.

    Args:
        classes: Rows, all the same.
        bins: Of each class.
        centre: The logit that a network gives everything before it has learnt.
    """
    even = np.linspace(-1, 1, bins + 1)[1:-1]
    return np.tile(centre + np.sinh(even * np.arcsinh(_FIRST_RANGE)), (classes, 1))


def fine_edges(classes: int) -> Floats:
    """Return edges (classes, 4001), densest at 0, between which scores are as good as exact."""
    return np.tile(np.sinh(np.linspace(-12, 12, 4001)) / 1e3, (classes, 1))


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

    Within a bin the order of images is not known. Both figures go along a monotone cubic curve through what
    is known at the edges (Fritsch and Carlson, SIAM J Numer Anal 1980): taking the scores of a bin for ties
    would put both far too low.

    Attributes:
        edges: (K, B - 1), strictly increasing.
        positives: Images of the class in each bin (K, B), from low scores to high ones.
        negatives: Images of the others (K, B).
    """

    edges: Floats
    positives: Counts
    negatives: Counts

    @property
    def bins(self) -> int:
        """Number of bins of a class."""
        return self.positives.shape[1]

    def auroc(self) -> Floats:
        """Return the area under the ROC curve of each class (K,); NaN with one bin or one kind of images."""
        return self._each(_auroc)

    def average_precision(self) -> Floats:
        """Return the average precision of each class (K,); NaN with one bin or without the class."""
        return self._each(_average_precision)

    def above(self, k: int) -> tuple[Floats, Floats] | None:
        """Return the images of class k and the others above a falling threshold, each (points,) from 0.

        None where they make no curve: of one bin, or of one kind of images.
        """
        positives, negatives = self.positives[k], self.negatives[k]
        if self.bins == 1 or not positives.any() or not negatives.any():
            return None
        return _roc(positives, negatives)

    def next_edges(self, bins: int) -> Floats:
        """Return edges (K, bins - 1) for the next evaluation, whose scores will lie much like these.

        Some are evenly spaced over the range of the scores, some at quantiles of the class's images, so that
        a class of a dozen images has bins where they are, and some at ranks from the top that grow by equal
        factors, as precision does. Quantiles alone would follow a rare class so closely that they fail once
        a round of training has moved it (`benchmarks/metric_bins.py`). Of fewer than 7 bins all would be
        where scores are high, and AUROC be blind below: hence some are at quantiles of the other images.
        """
        rows = zip(self.edges, self.positives, self.negatives, strict=True)
        return np.stack(
            [_next_edges(edges, positives, negatives, bins) for edges, positives, negatives in rows]
        )

    def _each(self, figure: Callable[[Counts, Counts], float]) -> Floats:
        if self.bins == 1:
            return np.full(len(self.positives), np.nan)
        return np.array([figure(*row) for row in zip(self.positives, self.negatives, strict=True)])


def _auroc(positives: Counts, negatives: Counts) -> float:
    if not positives.any() or not negatives.any():
        return np.nan
    found, wrong = _roc(positives, negatives)
    return float(np.trapezoid(found, wrong) / (found[-1] * wrong[-1]))


def _average_precision(positives: Counts, negatives: Counts) -> float:
    """Return the expected mean precision at the positives."""
    if not positives.any():
        return np.nan
    found, wrong = _roc(positives, negatives)
    above, total = 0, 0.0
    for inside, others in zip(positives[::-1].tolist(), negatives[::-1].tolist(), strict=True):
        if not inside:
            continue
        rank = np.linspace(1, inside, min(inside, _RANKS))
        # The i-th of p positives in a bin is expected where i / (p + 1) of them have passed.
        false = np.interp(above + rank * inside / (inside + 1), found, wrong)
        total += inside * float(_precision(above + rank, false, rank, inside, others).sum()) / len(rank)
        above += inside
    return total / above


def _precision(right: Floats, false: Floats, rank: Floats, inside: int, others: int) -> Floats:
    """Return the expected precision (n,) at positives of one bin, given the negatives expected above each.

    Precision is convex in their number, whose spread (negative hypergeometric, as the order within the bin is
    not known) therefore raises it: the second term of the Taylor series. A rare class is too low without it.
    """
    spread = (
        others * rank * (inside + 1 - rank) * (inside + others + 1) / ((inside + 1) ** 2 * (inside + 2.0))
    )
    return np.minimum(right / (right + false) * (1 + spread / (right + false) ** 2), 1)


def _roc(positives: Counts, negatives: Counts) -> tuple[Floats, Floats]:
    """Return positives and negatives above a falling threshold, each (points,) from 0."""
    steps = np.stack([positives, negatives])[:, ::-1].astype(np.float64)
    steps = steps[:, steps.any(axis=0)]
    found, wrong = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)
    rank = found + wrong
    if len(rank) < 3:
        return found, wrong
    along = rank[:-1, None] + np.diff(rank)[:, None] * np.arange(_POINTS) / _POINTS
    smooth = _bent(rank, found)
    # The curve may rise faster than one positive per image; then there are only positives.
    others = np.maximum.accumulate(np.clip(along - smooth, wrong[:-1, None], wrong[1:, None]).ravel())
    return np.append(along.ravel() - others, found[-1]), np.append(others, wrong[-1])


def _bent(rank: Floats, found: Floats) -> Floats:
    """Return a monotone curve (bins, points) through what is known at the edges.

    How steep it is at an edge follows from both bins beside it (Fritsch and Carlson). In a bin that holds
    many times the images of its neighbour it follows the neighbour less: the one image of an outermost bin
    would bend the curve of all others, and so make an AUROC of 0.7 of scores that are hardly told apart.
    """
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 (the coordinator needs no curve)

    images = np.diff(rank)
    even, steep = np.diff(found) / images, PchipInterpolator(rank, found).derivative()(rank)
    below, above = np.append(images[1], images[:-1]), np.append(images[1:], images[-2])
    first = (steep[:-1] - even) * np.minimum(_UNEVEN * below / images, 1)
    last = (steep[1:] - even) * np.minimum(_UNEVEN * above / images, 1)
    x = np.arange(_POINTS) / _POINTS
    # Hermite's cubic: the line from edge to edge, and by how much its ends are steeper than that.
    bend = np.outer(first * images, x * (1 - x) ** 2) - np.outer(last * images, x**2 * (1 - x))
    return found[:-1, None] + np.outer(np.diff(found), x) + bend


def _next_edges(edges: Floats, positives: Counts, negatives: Counts, bins: int) -> Floats:
    images = positives + negatives
    if not images.any() or not len(edges):
        return first_edges(1, bins)[0]
    ends = _ends(edges, images)
    low, high = _range(ends, images)
    span = np.linspace(low, high, _GRID)
    others = _OTHERS if bins < _FEW else 0.0
    wanted = (1 - _SHARE - _TOP - others) * np.linspace(0, 1, _GRID) + _TOP * _ranks(span, ends, images)
    wanted += _SHARE * _passed(span, ends, positives) + others * _passed(span, ends, negatives)
    wanted = (wanted - wanted[0]) / (wanted[-1] - wanted[0])
    found: Floats = np.interp(np.arange(1, bins) / bins, wanted, span)
    return found


def _ranks(span: Floats, ends: Floats, images: Counts) -> Floats:
    """Return the logarithm of the rank from the top at each score of the span, from 0 to 1."""
    above = np.interp(span, ends, np.append(np.cumsum(images[::-1])[::-1], 0))
    ranks = np.log1p(above[0]) - np.log1p(above)
    return np.asarray(ranks / max(ranks[-1], 1e-9), np.float64)


def _passed(span: Floats, ends: Floats, images: Counts) -> Floats:
    """Return the share of the images below each score of the span; 0 where there are none."""
    shares = np.append(0, np.cumsum(images) / max(images.sum(), 1))
    return np.asarray(np.interp(span, ends, shares), np.float64)


def _ends(edges: Floats, images: Counts) -> Floats:
    """Return the ends (B + 1,) of the bins; the outer ones reach the further the more images they hold."""
    length = edges[-1] - edges[0] if len(edges) > 1 else 1.0
    width = length / len(edges)
    low, high = width + 2 * length * images[[0, -1]] / images.sum()
    return np.concatenate([[edges[0] - low], edges, [edges[-1] + high]])


def _range(ends: Floats, images: Counts) -> tuple[float, float]:
    """Return the range of scores to be covered: all but the outermost ones, which may be far away."""
    total = images.sum()
    left_out = max(_OUTLIERS * total, 1.5)
    passed = np.append(0, np.cumsum(images))
    low, high = np.interp([min(left_out, total / 4), max(total - left_out, 3 * total / 4)], passed, ends)
    margin = _MARGIN * (high - low) + _LEAST
    low = float(np.clip(low - margin, -LARGEST_EDGE, LARGEST_EDGE - 1))
    return low, float(np.clip(high + margin, low + _LEAST, LARGEST_EDGE))


def through(edges: Floats, marks: Iterable[Sequence[float]]) -> Floats:
    """Return edges (K, B - 1) of which the nearest ones have moved to marks, as many as there are edges.

    Args:
        edges: Strictly increasing.
        marks: For each class, the most important first; within the range of edges.
    """
    return np.stack([_through(row, own) for row, own in zip(edges, marks, strict=True)])


def _through(row: Floats, marks: Sequence[float]) -> Floats:
    found, fixed = row.copy(), np.zeros(len(row), np.bool_)
    for mark in dict.fromkeys(marks):
        if fixed.all():
            break
        place = int(np.argmin(np.where(fixed, np.inf, np.abs(found - mark))))
        if mark in found:
            place = int(np.flatnonzero(found == mark)[0])
        found[place], fixed[place] = mark, True
        order = np.argsort(found, kind="stable")
        found, fixed = found[order], fixed[order]
    return found
