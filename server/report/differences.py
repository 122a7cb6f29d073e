"""By how much runs differ on the same test patients, and whether that may be chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from server.report.content import Section, words
from server.report.facts import Outcome, RunFacts
from server.report.tables import shown_metrics
from server.report.tested import patient_tables, task_of
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.paired_tests import Difference, Judged, differences, holm
from shared.metrics.replicates import Tables, patients_in
from shared.metrics.spec import metric_names
from shared.metrics.states import MetricSet
from shared.text.plural import many
from shared.web.tables import Estimate, Table

_DRAWS, _SWAPS = 1000, 1000
_LEAST_PATIENTS = 10
_ALPHA = 0.05
_WHO = "who"  # table with a digest of the patients' names
_UNPAIRED = "As if the tests were of different patients: wider than a paired comparison would be."


def shared_metrics(runs: Sequence[Outcome]) -> list[str]:
    """Return the metrics that all runs have, those of the tables first."""
    order = [name for run in runs for name in [*shown_metrics(run.job), *metric_names(run.job)]]
    return [name for name in dict.fromkeys(order) if all(name in metric_names(run.job) for run in runs)]


def differences_section(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    """Return how each two of the runs differ, corrected for how many figures were compared."""
    says: list[str] = []
    tables: list[Table] = []
    paired: dict[int, tuple[RunFacts, dict[str, Difference]]] = {}  # by the place of their table
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


def _row(run: RunFacts, metric: str, one: Difference, corrected: float) -> list[Any]:
    gain = -one.value if run.is_lower_better(metric) else one.value
    better = "not shown" if corrected >= _ALPHA else "the second" if gain > 0 else "the first"
    estimate = Estimate(one.value, one.low, one.high)
    return [words(metric), estimate, one.p, corrected, one.test, better]


def _paired(one: RunFacts, other: RunFacts) -> dict[str, Difference] | str:
    """Return the differences of two runs over the same patients; where they can't be had, the reason."""
    tables = [patient_tables(run) for run in (one, other)]
    if not all(tables):
        return "single patients are not known: a real run shows none, and only rehearsals keep them."
    if not same_patients(*tables):
        return "the two were not tested on the same patients."
    first, second = ([own for own in found.values() if is_tested(own)] for found in tables)
    patients = sum(map(patients_in, first))
    if patients < _LEAST_PATIENTS:
        return f"{patients} test patients are too few for an interval."
    bootstrap = Bootstrap(patients, _DRAWS, one.job.job.seed)
    swaps = np.random.default_rng(one.job.job.seed).random((_SWAPS, patients)) < 1 / 2
    alike = one.job.task == other.job.task and one.about.get("statistics") == other.about.get("statistics")
    judged, beside = Judged(metrics_of(one), first), Judged(metrics_of(other), second)
    found = differences(judged, beside, bootstrap, swaps if alike else None)
    return {metric: found[metric] for metric in shared_metrics([one, other]) if metric in found}


def metrics_of(run: RunFacts) -> MetricSet:
    """Return the metrics of a run's task, empty, with bins fine enough for single patients."""
    task = task_of(run)
    return task.metrics(task.fine_edges())


def same_patients(one: Mapping[str, Tables], other: Mapping[str, Tables]) -> bool:
    """Say whether two runs' tables are of the same test patients at the same sites."""
    if set(one) != set(other):
        return False
    return all(
        _WHO in one[site] and _WHO in other[site] and bool((one[site][_WHO] == other[site][_WHO]).all())
        for site in one
    )


def is_tested(tables: Tables) -> bool:
    """Say whether a site has test patients."""
    return "patient" in tables


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
