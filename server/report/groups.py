"""How a model does in groups of patients: by sex, by age, by scanner."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.report.content import words
from server.report.facts import Outcome
from shared.metrics.group_options import GroupColumn
from shared.web.tables import Estimate, Table

KEY = "groups"
"""Of `run.json`."""
_AT_THRESHOLD = ("sensitivity", "specificity")


def group_tables(outcome: Outcome, metrics: list[str]) -> list[Table]:
    """Return a table for each column by whose groups the test was judged.

    Args:
        outcome: Of a run.
        metrics: Those that people look at.
    """
    told = outcome.about.get(KEY)
    if not told:
        return []
    columns = outcome.job.evaluation.groups
    return [_table(outcome, number, own, metrics, told) for number, own in enumerate(columns, 1)]


def group_warnings(outcome: Outcome) -> Iterator[str]:
    """Yield a sentence about groups of which no hospital tells."""
    told = outcome.about.get(KEY)
    if not told:
        return
    for own in outcome.job.evaluation.groups:
        silent = [name for name in own.groups if f"{own.column}: {name}" not in told["federation"]]
        if silent:
            yield (
                f"Nothing is told of the groups by '{own.column}': {', '.join(silent)}. No hospital has test "
                "patients enough in them, or the rest of its patients would be too few."
            )


def _table(
    outcome: Outcome, number: int, own: GroupColumn, metrics: list[str], told: Mapping[str, Any]
) -> Table:
    groups = {name: told["federation"].get(f"{own.column}: {name}") for name in own.groups}
    known = {name: found for name, found in groups.items() if found is not None}
    points = list(dict.fromkeys(name for found in known.values() for name in found.get("at_threshold", {})))
    at_threshold = [(name, figure) for name in points for figure in _AT_THRESHOLD]
    rows: list[list[Any]] = [
        [
            name,
            found["images"],
            *(_estimate(found, metric) for metric in metrics),
            *(_point(found, *point) for point in at_threshold),
        ]
        for name, found in known.items()
    ]
    if len(known) > 1:
        rows.append(
            ["range", None, *(_range(row[2 + place] for row in rows) for place in range(len(rows[0]) - 2))]
        )
    sites = sum(any(f"{own.column}: {name}" in one for name in own.groups) for one in told["sites"].values())
    behind = f" Of {sites} of the hospitals." if told["sites"] else ""
    notes = (
        f"Each hospital tells of groups that are large enough there, and of none that others tell.{behind}",
        *(["At the one threshold for all, chosen on the validation patients."] if points else []),
        *(_worst(outcome, metrics[0], known)),
    )
    ends = [
        f"{figure} ({name})" if len(points) > 1 else f"{figure} at threshold" for name, figure in at_threshold
    ]
    columns = (own.column, "images", *map(words, metrics), *ends)
    return Table(f"groups-{number}", f"By {own.column}", columns, rows, notes, strong=int(len(known) > 1))


def _estimate(found: Mapping[str, Any], metric: str) -> Estimate:
    low, high = found["intervals"].get(metric) or (None, None)
    return Estimate(found["metrics"].get(metric), low, high)


def _point(found: Mapping[str, Any], name: str, figure: str) -> Estimate:
    own = found.get("at_threshold", {}).get(name, {}).get(figure)
    return Estimate(None) if own is None else Estimate(own["value"], own["low"], own["high"])


def _range(cells: Iterator[Estimate]) -> float | None:
    values = [cell.value for cell in cells if cell.value is not None]
    return max(values) - min(values) if len(values) > 1 else None


def _worst(outcome: Outcome, metric: str, known: Mapping[str, Any]) -> Iterator[str]:
    values = {
        name: found["metrics"][metric]
        for name, found in known.items()
        if found["metrics"].get(metric) is not None
    }
    if len(values) > 1:
        pick = max if outcome.is_lower_better(metric) else min
        yield f"Worst by {words(metric)}: {pick(values, key=lambda name: values[name])}."
