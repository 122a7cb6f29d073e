"""Learning curves over hospitals and over patients: what was measured, and where the curve leads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.report.content import Section, words
from server.report.seeds import Seeds, estimate
from server.report.tables import shown_metrics
from shared.metrics.figures import Figure, Point
from shared.metrics.seed_spread import Spread
from shared.series import Series
from shared.web.tables import Estimate, Table

_LEAST_POINTS = 3
_FURTHER = {"sites": (1, 2), "patients": (0.5, 1.0)}
"""How far beyond the last point the curve is followed, in hospitals and in shares of today's patients."""
_NOTE = (
    "Beyond what was measured: along a - b / sqrt(n), fitted by least squares for each draw of patients and "
    "seeds. A guess, and only for hospitals like these."
)

Numbers = NDArray[np.float64]


def curve_section(series: Series, found: Mapping[str, Seeds]) -> Section:
    """Return a metric by how many hospitals, or which share of the patients, have trained.

    Args:
        series: Over 'sites' or 'patients'.
        found: The finished runs of each variant; those of as many sites in another order go together.
    """
    groups: dict[float, list[Seeds]] = {}
    for variant in series.variants:
        if variant.name in found:
            trained = len(series.sites) - len(variant.held_out)
            groups.setdefault(trained if series.kind == "sites" else variant.used, []).append(
                found[variant.name]
            )
    curves = {at: Seeds([run for own in groups[at] for run in own.runs]) for at in sorted(groups)}
    job = next(iter(curves.values())).runs[0].job
    tables, figures = [], []
    for place, metric in enumerate(shown_metrics(job)):
        spreads = {at: own for at, seeds in curves.items() if (own := seeds.spread(metric)) is not None}
        if not spreads:
            continue
        measured = [_row(series, at, own, len(curves[at].runs)) for at, own in spreads.items()]
        guessed = _beyond(series, {at: curves[at] for at in spreads}, metric)
        columns = (
            "hospitals" if series.kind == "sites" else "share of the patients",
            words(metric),
            "deviation",
            "runs",
        )
        notes = (_NOTE,) if guessed else ()
        tables.append(
            Table(
                f"curve-{metric.replace('/', '-')}",
                f"Learning curve: {words(metric)}",
                columns,
                [*measured, *guessed],
                notes,
            )
        )
        if place == 0:
            figures.append(_figure(series, spreads, metric))
    says = [
        "Every model is tested on the same test patients of all hospitals, also of those that did not train.",
    ]
    if series.kind == "sites":
        says.append("The hospitals come in an order that the seed draws, and backwards.")
    return Section("curve", "Learning curve", says, tables=tables, figures=figures)


def _row(series: Series, at: float, spread: Spread, runs: int) -> list[Any]:
    return [
        _count(series, at),
        estimate(spread),
        None if np.isnan(spread.deviation) else spread.deviation,
        runs,
    ]


def _count(series: Series, at: float) -> str:
    return f"{at:g}" if series.kind == "sites" else f"{at:.0%}"


def _figure(series: Series, spreads: Mapping[float, Spread], metric: str) -> Figure:
    along = "hospitals that train" if series.kind == "sites" else "share of the patients who train"
    points: list[Point] = [("all hospitals' test", at, round(own.mean, 5)) for at, own in spreads.items()]
    title = f"Learning curve: {words(metric)}"
    return Figure(
        "learning-curve", title, ("tested on", along, words(metric)), points, says=f"{title}, by {along}."
    )


def _beyond(series: Series, curves: Mapping[float, Seeds], metric: str) -> list[list[Any]]:
    """Return rows of where the curve leads; none from fewer than three points."""
    draws = [curves[at].drawn_means(metric) for at in curves]
    known = [own for own in draws if own is not None]
    if len(known) < _LEAST_POINTS or len(known) < len(draws):
        return []
    along = np.array(list(curves))
    last = along[-1]
    rows: list[list[Any]] = []
    for more in _FURTHER[series.kind]:
        at = last + more
        found = _followed(along, np.stack(known), at)
        middle = float(
            _followed(along, np.array([[np.mean(curves[x].values(metric))] for x in curves]), at)[0]
        )
        low, high = np.percentile(found, (2.5, 97.5))
        rows.append([f"{_count(series, at)} (a guess)", Estimate(middle, float(low), float(high)), None, 0])
    return rows


def _followed(along: Numbers, values: Numbers, at: float) -> Numbers:
    """Return where curves lead.

    Args:
        along: Where they are known (n,).
        values: What they are there (n, R).
        at: Where they are followed to.
    """
    design = np.stack([np.ones(len(along)), -1 / np.sqrt(along)], axis=1)
    fitted = np.linalg.lstsq(design, values, rcond=None)[0]
    found: Numbers = np.array([1, -1 / np.sqrt(at)]) @ fitted
    return found
