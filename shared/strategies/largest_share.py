"""How much each site may count in a mean: no more than a share of it."""

from collections.abc import Mapping
from fractions import Fraction


def bounded(weights: Mapping[str, int], largest_share: float) -> dict[str, int]:
    """Cut down the weights that are more than a share of their sum, each to the same number.

    The sum is the one after cutting, so that no site has more than the share of what is added up. Among n
    sites a share of 1/n is always allowed.

    Args:
        weights: Of each site, not below 0.
        largest_share: In 0..1.

    Returns:
        The weights, whole numbers; those that are small enough as they were.
    """
    counting = sorted(weight for weight in weights.values() if weight > 0)
    if not counting:
        return dict(weights)
    share = max(Fraction(largest_share).limit_denominator(10**6), Fraction(1, len(counting)))
    most = _largest(counting, share)
    return {site: min(weight, most) for site, weight in weights.items()}


def _largest(ascending: list[int], share: Fraction) -> int:
    """Return the largest whole number c with c ≤ share · sum(min(weight, c))."""
    heaviest = ascending[-1]
    if heaviest <= share * sum(ascending):
        return heaviest
    kept = sum(ascending)
    for cut, weight in enumerate(reversed(ascending), 1):
        kept -= weight  # of those that are not cut: c = share · (kept + cut · c)
        below = ascending[-cut - 1] if cut < len(ascending) else 0
        if share * cut >= 1:
            return weight
        level = share * kept / (1 - share * cut)
        if level >= below:
            return max(1, int(level))
    raise AssertionError("a share of 1/n is always reached")
