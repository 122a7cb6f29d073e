"""Intervals of 95 % for figures of a test, from counts alone."""

from math import sqrt

_Z = 1.96

Interval = tuple[float, float]


def wilson(right: float, total: float) -> Interval:
    """Return the interval of a proportion (Wilson, JASA 1927).

    Args:
        right: Cases that count, of `total`; not necessarily whole where they are an effective number.
        total: Above 0.
    """
    share, spread = right / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - half, middle + half


def of_auroc(auroc: float, positives: float, negatives: float) -> Interval:
    """Return the interval of an AUROC (Hanley and McNeil, Radiology 1982).

    Args:
        auroc: From 0 to 1.
        positives: Cases of the class, above 0.
        negatives: The others, above 0.
    """
    both, squared = auroc / (2 - auroc), auroc**2
    twice = 2 * squared / (1 + auroc)
    variance = (
        auroc * (1 - auroc) + (positives - 1) * (both - squared) + (negatives - 1) * (twice - squared)
    ) / (positives * negatives)
    return _around(auroc, sqrt(max(variance, 0.0)))


def of_mean(shares: list[tuple[float, float]]) -> Interval:
    """Return the interval of a mean of independent proportions, each given as (share, cases)."""
    mean = sum(share for share, _ in shares) / len(shares)
    variances = [((end - start) / (2 * _Z)) ** 2 for start, end in (wilson(s * n, n) for s, n in shares)]
    return _around(mean, sqrt(sum(variances)) / len(shares))


def _around(value: float, deviation: float) -> Interval:
    return max(0.0, value - _Z * deviation), min(1.0, value + _Z * deviation)
