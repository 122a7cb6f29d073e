"""By how much runs differ on the same test patients, and whether that may be chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from server.report.content import Section, words
from server.report.facts import Outcome, RunFacts
from server.report.tables import shown_metrics
from shared.loading import loading
from shared.metrics.holm import holm
from shared.metrics.spec import metric_names
from shared.text.plural import many
from shared.web.tables import Estimate, Table

if TYPE_CHECKING:
    from shared.metrics.paired_tests import Difference

UNKNOWN = "single patients are not known: a real run shows none, and only rehearsals keep them."
_ALPHA = 0.05
_UNPAIRED = "As if the tests were of different patients: wider than a paired comparison would be."


def shared_metrics(runs: Sequence[Outcome]) -> list[str]:
    """Return the metrics that all runs have, those of the tables first."""
    order = [name for run in runs for name in [*shown_metrics(run.job), *metric_names(run.job)]]
    return [name for name in dict.fromkeys(order) if all(name in metric_names(run.job) for run in runs)]


def differences_section(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    """Return how each two of the runs differ, corrected for how many figures were compared."""
    says: list[str] = []
    tables: list[Table] = []
    paired: dict[int, tuple[RunFacts, Mapping[str, Difference]]] = {}  # by the place of their table
    for (first, one), (second, other) in combinations(zip(names, runs, strict=True), 2):
        title, found = f"{second} minus {first}", _paired(one, other)
        name = f"difference-{len(tables) + 1}"
        if not isinstance(found, str):
            paired[len(tables)] = one, found
            tables.append(Table(name, title, ("metric", "difference", "p", "p (Holm)", "test", "better"), []))
            continue
        says.append(f"{title}: {found}")
        if rows := list(_unpaired(one, other)):
            tables.append(Table(name, title, ("metric", "difference", "chance?"), rows, (_UNPAIRED,)))
        else:
            says.append("Nothing can be said about their difference: no interval of either is known.")
    corrected = iter(holm([one.p for _, found in paired.values() for one in found.values()]))
    number = sum(len(found) for _, found in paired.values())
    note = (
        f"Paired: both runs judged by the same patients. p (Holm) is corrected for the "
        f"{many(number, 'comparison')} here and decides what is better; the intervals are not."
    )
    for place, (run, found) in paired.items():
        rows = [_row(run, metric, one, next(corrected)) for metric, one in found.items()]
        tables[place] = replace(tables[place], rows=rows, notes=(note,))
    return Section("differences", "Is it chance?", says, tables=tables)


def _row(run: RunFacts, metric: str, one: "Difference", corrected: float) -> list[Any]:
    gain = -one.value if run.is_lower_better(metric) else one.value
    better = "not shown" if corrected >= _ALPHA else "the second" if gain > 0 else "the first"
    estimate = Estimate(one.value, one.low, one.high)
    return [words(metric), estimate, one.p, corrected, one.test, better]


def _paired(one: RunFacts, other: RunFacts) -> "Mapping[str, Difference] | str":
    """Return the differences of two runs over the same patients; where they can't be had, the reason."""
    if not (one.has_patients and other.has_patients):
        return UNKNOWN
    with loading():
        from server.report.paired import paired  # noqa: PLC0415 (with PyTorch)

    return paired(one, other)


def _unpaired(one: RunFacts, other: RunFacts) -> Iterator[list[Any]]:
    """Yield differences with intervals from those of the runs (Newcombe, Stat Med 1998, method 10)."""
    for metric in shared_metrics([one, other]):
        first, second = one.estimate(metric), other.estimate(metric)
        if None in (first.value, first.low, first.high, second.value, second.low, second.high):
            continue
        assert first.value is not None and second.value is not None  # noqa: S101, PT018 (seen above)
        assert first.low is not None and first.high is not None  # noqa: S101, PT018
        assert second.low is not None and second.high is not None  # noqa: S101, PT018
        gain = second.value - first.value
        below = np.hypot(second.value - second.low, first.high - first.value)
        above = np.hypot(second.high - second.value, first.value - first.low)
        estimate = Estimate(gain, float(gain - below), float(gain + above))
        may = "may be" if gain - below <= 0 <= gain + above else "hardly"
        yield [words(metric), estimate, may]
