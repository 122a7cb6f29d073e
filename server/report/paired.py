"""By how much two rehearsals differ on the same test patients; it loads PyTorch, which no real run needs."""

from collections.abc import Mapping

import numpy as np

from server.report.differences import UNKNOWN, shared_metrics
from server.report.facts import RunFacts
from server.report.tested import patient_tables, task_of
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.paired_tests import Difference, Judged, differences
from shared.metrics.replicates import Tables, patients_in
from shared.metrics.states import MetricSet

_DRAWS, _SWAPS = 1000, 1000
_LEAST_PATIENTS = 10
_WHO = "who"  # table with a digest of the patients' names


def paired(one: RunFacts, other: RunFacts) -> dict[str, Difference] | str:
    """Return the differences of two runs over the same patients; where they can't be had, the reason."""
    tables = [patient_tables(run) for run in (one, other)]
    if not all(tables):
        return UNKNOWN
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
