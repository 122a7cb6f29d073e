"""What a simulation can say of its test that a real run can't: it sees the patients behind the figures.

Intervals are percentiles of a bootstrap over the patients of all sites (Efron and Tibshirani, 1993): a
patient's images are drawn together. What a task's metrics are then, its `MetricSet` says.
"""

from collections.abc import Mapping, Set
from math import isnan
from typing import Any

import numpy as np
import torch

from client.work.hospital import Site
from client.work.warm_networks import evaluate
from server.report.comparison import comparison
from shared.job.schema import JobSpec
from shared.metrics.intervals import Interval
from shared.metrics.replicates import TRAIN, Figures, Tables, patients_in
from shared.metrics.spec import metric_specs
from shared.tasks.base import Task
from shared.wire.messages import Request

LEAST_PATIENTS = 10  # below, a bootstrap says too little about itself
_DRAWS = 1000
_UNKNOWN = "its metrics do not say what of it each patient adds (docs/extending.md)"


def judge(site: Site, request: Request) -> tuple[dict[str, Any], Tables]:
    """Test the model that a site judges on its test patients and return what there is of each of them.

    Args:
        site: Has the patients, and under some strategies a model of its own.
        request: For the test.

    Returns:
        Nothing, and tables: those of `MetricSet.patient_tables`, and `train`.
    """
    bench = site.judging(request)
    data = site.data(bench.job)
    torch.set_num_threads(bench.job.training.threads)
    test = data.split("test")
    if not len(test):
        return {}, {}
    metrics = evaluate(bench, test, bench.task.fine_edges())
    metrics.settle()
    targets = data.written_targets()
    return {}, {**metrics.patient_tables(), **({} if targets is None else {TRAIN: targets})}


def compare(task: Task, sites: Mapping[str, Tables]) -> dict[str, Any]:
    """Return the entry `comparison` of `run.json`, from what `judge` returned of each site.

    Args:
        task: Of the run, which knows the statistics that it needs; the seed of its job draws.
        sites: By name; those without test patients may have no tables.
    """
    tested = {name: tables for name, tables in sites.items() if tables}
    if not tested:
        return {}
    patients = sum(patients_in(tables) for tables in tested.values())
    generator = np.random.default_rng(task.job.job.seed)
    drawn_patients = generator.multinomial(patients, np.full(patients, 1 / patients), _DRAWS)
    draws = np.vstack([np.ones(patients, np.int64), drawn_patients])  # the first is the test itself
    metrics = task.metrics(task.fine_edges())
    figures = metrics.resampled(list(tested.values()), draws)
    rivals, wanted = metrics.rivals(tested), _wanted(task.job)
    has_intervals = patients >= LEAST_PATIENTS
    return comparison(
        task.job,
        {name: float(found[0]) for name, found in figures.items()},
        _percentiles(figures, set(wanted) - set(metrics.no_interval)) if has_intervals else {},
        rivals.values,
        one_class=rivals.one_class,
        patients=patients,
        how="bootstrap",
        no_interval={
            name: metrics.no_interval.get(name, _UNKNOWN)
            for name in wanted
            if name in metrics.no_interval or name not in figures
        },
    )


def _wanted(job: JobSpec) -> list[str]:
    """Return the metrics that people look at: those of the table at the end, and those that the job names."""
    asked = {job.evaluation.select_best, *(metric.name for metric in job.evaluation.metrics)}
    specs = sorted(metric_specs(job), key=lambda spec: spec.shown)
    return [spec.name for spec in specs if spec.name != "loss" and (spec.shown or spec.name in asked)]


def _percentiles(figures: Figures, names: Set[str]) -> dict[str, Interval]:
    found = {}
    for name, values in figures.items():
        if name in names and not isnan(values[0]):
            low, high = np.nanpercentile(values[1:], (2.5, 97.5))
            found[name] = (float(low), float(high))
    return found
