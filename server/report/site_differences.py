"""How sites differ, from sums over their patients: tests of two samples, and how large a difference is.

Each site is compared with the others together, and the one that differs most is named. Figures that leave a
site are rounded and have noise (`client.guard.bounds`), for which every test allows: with it a difference has
to be larger. P-values are corrected for the sites compared (Bonferroni) and for the figures (Holm, 1979).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shared.metrics.holm import holm
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import Numbers, Statistics

_HALF_STEP = 5.0  # by which a count may be rounded, at most
_UNITS = 3.0  # of the noise of counts in `min_group` (`Bounds.deviation`)
_RANGE = 4.0  # standard deviations that a bounded range of values spans, about


@dataclass(frozen=True)
class Difference:
    """How much the sites differ in one figure.

    Attributes:
        what: The figure.
        site: That differs most from the others.
        effect: How much: see `measure`. Infinite where the site and the others have one value each, and not
            the same.
        measure: `share apart` (half the sum of the differences of shares, 0 to 1), `standard deviations`, or
            `largest gap` of the cumulative shares, 0 to 1.
        test: By which `p` was found.
        p: Corrected; None where the figures allow no test.
    """

    what: str
    site: str
    effect: float
    measure: str
    test: str
    p: float | None


def differences(
    specs: Sequence[StatisticSpec],
    parts: Mapping[str, Statistics],
    patients: Mapping[str, int],
    least: int,
    *,
    exclusive: bool = True,
) -> list[Difference]:
    """Return how sites differ in each figure that at least two of them tell, the most certain first.

    Args:
        specs: Of the figures.
        parts: Of each site.
        patients: Behind them, by site.
        least: `min_group` of the sites; with 1 their figures have no noise.
        exclusive: Whether a sample is of one class only: otherwise counts of classes have no test.
    """
    found: list[Difference] = []
    for spec in specs:
        own = {site: part[spec.name] for site, part in parts.items()}
        if spec.kind == "counts":
            found += _of_counts(own, patients, least, exclusive=exclusive)
        elif spec.kind == "moments":
            for at, what in enumerate(spec.of):
                found += _of_moments(what, {site: one[at] for site, one in own.items()}, least)
        else:
            found += _of_histogram(spec.of[0], own, least)
    return sorted(corrected(found), key=lambda one: (1.0 if one.p is None else one.p, -one.effect))


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """Return them with their p-values corrected by Holm's method."""
    tested = [one for one in found if one.p is not None]
    values = holm([one.p or 0.0 for one in tested])
    others = [one for one in found if one.p is None]
    return [*others, *(replace(one, p=p) for one, p in zip(tested, values, strict=True))]


def _of_counts(
    counts: Mapping[str, Numbers], patients: Mapping[str, int], least: int, *, exclusive: bool
) -> Iterator[Difference]:
    """Compare shares of classes: Pearson's chi-square of homogeneity.

    Images, and pixels more so, of one patient are alike: each site counts as many as it has patients.
    """
    told = {site: one for site, one in counts.items() if one.sum() > 0 and patients.get(site, 0) > 0}
    if len(told) < 2:
        return
    sites = list(told)
    scale = np.array([min(1.0, patients[site] / told[site].sum()) for site in sites])
    table = np.stack([told[site] for site in sites]) * scale[:, None]
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    noise = (_noise(least) * scale[:, None]) ** 2
    square = float(((table - expected) ** 2 / (expected + noise)).sum())
    freedom = (len(sites) - 1) * (table.shape[1] - 1)
    apart = [_share_apart(table, at) for at in range(len(sites))]
    most = int(np.argmax(apart))
    p = float(stats.chi2.sf(square, freedom)) if exclusive and freedom else None
    yield Difference("classes", sites[most], apart[most], "share apart", "chi-square", p)


def _share_apart(table: NDArray[np.float64], at: int) -> float:
    others = np.delete(table, at, axis=0).sum(axis=0)
    return float(np.abs(table[at] / table[at].sum() - others / others.sum()).sum() / 2)


def _of_moments(what: str, moments: Mapping[str, Numbers], least: int) -> Iterator[Difference]:
    """Compare means: Welch's t-test of each site with the others, and Cohen's d."""
    told = {site: one for site, one in moments.items() if one[0] > 1}
    if len(told) < 2:
        return
    best: Difference | None = None
    for site, own in told.items():
        others = [one for name, one in told.items() if name != site]
        effect, p = _welch(own, others, least)
        if best is None or (effect, -p) > (best.effect, -(best.p or 0.0)):
            best = Difference(what, site, effect, "standard deviations", "Welch", p)
    if best is not None:
        yield replace(best, p=min(1.0, (best.p or 0.0) * len(told)))


def _welch(own: Numbers, others: Sequence[Numbers], least: int) -> tuple[float, float]:
    rest = np.sum(others, axis=0)
    spread = math.sqrt((_variance(own) * own[0] + _variance(rest) * rest[0]) / (own[0] + rest[0]))
    gap = abs(own[1] / own[0] - rest[1] / rest[0])
    if spread <= 1e-9 * max(1.0, abs(own[1] / own[0])):
        same = gap <= 1e-9 * max(1.0, abs(own[1] / own[0]))
        return (0.0, 1.0) if same else (math.inf, 0.0)
    error = _error(own, least) ** 2
    error += sum((one[0] / rest[0] * _error(one, least)) ** 2 for one in others)
    freedom = max(1.0, min(own[0], rest[0]) - 1)
    return gap / spread, float(2 * stats.t.sf(gap / max(math.sqrt(error), 1e-12 * spread), freedom))


def _variance(moments: Numbers) -> float:
    count, total, squares = moments
    return max(0.0, float(squares / count - (total / count) ** 2))


def _error(moments: Numbers, least: int) -> float:
    """Return the standard error of a mean: that of the patients drawn, and of the noise on it."""
    count, variance = float(moments[0]), _variance(moments)
    noise = 0.0 if least <= 1 else _RANGE * math.sqrt(variance) * least / _UNITS / count
    return math.sqrt(variance / max(count - 1, 1) + noise**2)


def _of_histogram(what: str, counts: Mapping[str, Numbers], least: int) -> Iterator[Difference]:
    """Compare distributions: the test of Kolmogorov and Smirnov, of each site with the others."""
    told = {site: one for site, one in counts.items() if one.sum() > 0}
    if len(told) < 2:
        return
    found = []
    for site, own in told.items():
        rest = np.sum([one for name, one in told.items() if name != site], axis=0)
        gap = float(np.abs(np.cumsum(own) / own.sum() - np.cumsum(rest) / rest.sum()).max())
        number = own.sum() * rest.sum() / (own.sum() + rest.sum())
        allowed = gap - sum(_gap_of_noise(float(one.sum()), least) for one in (own, rest))
        found.append((gap, float(stats.kstwobign.sf(max(allowed, 0.0) * math.sqrt(number))), site))
    gap, p, site = max(found, key=lambda one: (one[0], -one[1]))
    yield Difference(what, site, gap, "largest gap", "Kolmogorov-Smirnov", min(1.0, p * len(told)))


def _gap_of_noise(count: float, least: int) -> float:
    """Return by how much noise moves a cumulative share: two deviations, in the middle of all cells."""
    if least <= 1:
        return 0.0
    cells = max(1.0, min(64.0, count / (1.5 * least)))
    return 2 * least / _UNITS * math.sqrt(cells) / 2 / count


def _noise(least: int) -> float:
    """Return the standard deviation of a count as it leaves: with noise, and rounded as far as it may be."""
    noise = 0.0 if least <= 1 else least / _UNITS
    return math.hypot(noise, _HALF_STEP)
