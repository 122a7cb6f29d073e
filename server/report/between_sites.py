"""How unlike a model is at the hospitals: where it is worst, and how far apart they are."""

from collections.abc import Sequence
from statistics import stdev
from typing import Any

from server.report.content import words
from server.report.facts import Outcome
from shared.web.tables import Estimate, Table


def between_sites_table(outcome: Outcome, metrics: Sequence[str]) -> Table | None:
    """Return the worst and the best hospital by each metric; None where fewer than two have one.

    Args:
        outcome: Of a run.
        metrics: Those that people look at.
    """
    rows = [row for metric in metrics if (row := _row(outcome, metric)) is not None]
    if not rows:
        return None
    columns = ("metric", "worst at", "figure there", "best at", "figure there", "range", "deviation")
    notes = (
        "Of few test patients at each hospital a part of it is chance: see the intervals, and the same over "
        "several seeds.",
    )
    return Table("between-sites", "Between the hospitals", columns, rows, notes)


def _row(outcome: Outcome, metric: str) -> list[Any] | None:
    found: dict[str, Estimate] = {}
    for site in outcome.test.get("sites") or {}:
        estimate = outcome.site_estimate(site, metric)
        if estimate.value is not None:
            found[site] = estimate
    if len(found) < 2:
        return None
    values = {site: own.value for site, own in found.items() if own.value is not None}
    order = sorted(values, key=lambda site: values[site], reverse=outcome.is_lower_better(metric))
    worst, best = order[0], order[-1]
    apart = abs(values[best] - values[worst])
    return [words(metric), worst, found[worst], best, found[best], apart, stdev(values.values())]
