"""What a simulation can say of its test that a real run can't: it sees the patients behind the figures.

Intervals are of a bootstrap over the patients of all sites (`shared.metrics.bootstrap`): a patient's images
are drawn together. What a task's metrics are then, its `MetricSet` says.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode

from client.work.hospital import Site
from client.work.warm_networks import predictions
from server.report.comparison import comparison
from shared.job.schema import JobSpec
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.intervals import Interval
from shared.metrics.replicates import TRAIN, Figures, Tables, parts_of_means, patients_in
from shared.metrics.spec import metric_specs
from shared.metrics.states import MetricSet
from shared.tasks.base import Task
from shared.wire.messages import Request
from simulate.session.examples import examples_of

LEAST_PATIENTS = 10  # below, a bootstrap says too little about itself
WHO, EXAMPLE = "who", "example"
_DRAWS, _LEAST_DRAWS = 1000, 200
_UNKNOWN = "its metrics do not say what of it each patient adds (docs/extending.md)"


def judge(site: Site, request: Request) -> tuple[dict[str, Any], Tables]:
    """Test the model that a site judges on its test patients and return what there is of each of them.

    Args:
        site: Has the patients, and under some strategies a model of its own.
        request: For the test.

    Returns:
        Nothing, and tables: those of `MetricSet.patient_tables`, `train`, `who` (a digest of the patients'
        names), and below `example/` what `examples_of` draws.
    """
    bench = site.judging(request)
    data = site.data(bench.job)
    torch.set_num_threads(bench.job.training.threads)
    test = data.split("test")
    if not len(test):
        return {}, {}
    metrics, scores = bench.task.metrics(bench.task.fine_edges()), []
    with eval_mode(bench.model):
        for batch, predicted in predictions(bench.task, bench.models, test):
            losses = bench.task.sample_losses(bench.models, batch, predicted)
            bench.task.update(metrics, predicted, batch, losses)
            scores += [look.score for look in bench.task.looks(predicted, batch)]
        drawn = examples_of(bench, test, scores)
    metrics.settle()
    targets = data.known_targets()
    return {}, {
        **metrics.patient_tables(),
        **({} if targets is None else {TRAIN: targets}),
        WHO: _digest(data.group("test")),
        **{f"{EXAMPLE}/{name}": content for name, content in drawn.items()},
    }


def _digest(patients: Collection[str]) -> torch.Tensor:
    """Return the SHA-256 of the patients' names (32,): runs with the same one have tested the same."""
    names = "\n".join(sorted(patients)).encode()
    return torch.from_numpy(np.frombuffer(hashlib.sha256(names).digest(), np.uint8).copy())


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
    has_intervals = patients >= LEAST_PATIENTS
    bootstrap = Bootstrap(patients, _DRAWS if has_intervals else 0, task.job.job.seed)
    metrics = task.metrics(task.fine_edges())
    figures = metrics.resampled(list(tested.values()), bootstrap.draws)
    rivals, wanted = metrics.rivals(tested), _wanted(task.job)
    found = comparison(
        task.job,
        {name: float(found[0]) for name, found in figures.items()},
        _intervals(bootstrap, figures, wanted, metrics, list(tested.values())),
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
    number = max(_LEAST_DRAWS, _DRAWS // len(tested))
    return {**found, "sites": {name: _of_site(task, tables, number) for name, tables in tested.items()}}


def _of_site(task: Task, tables: Tables, number: int) -> dict[str, Any]:
    """Return the patients of a site's test, and the metrics with the intervals that they are enough for."""
    patients = patients_in(tables)
    if patients < LEAST_PATIENTS:
        return {"patients": patients, "metrics": {}}
    bootstrap = Bootstrap(patients, number, task.job.job.seed)
    metrics = task.metrics(task.fine_edges())
    figures = metrics.resampled([tables], bootstrap.draws)
    found = _intervals(bootstrap, figures, _wanted(task.job), metrics, [tables])
    return {
        "patients": patients,
        "metrics": {
            name: {"value": float(figures[name][0]), "low": low, "high": high}
            for name, (low, high) in found.items()
        },
    }


def _wanted(job: JobSpec) -> list[str]:
    """Return the metrics that people look at: those of the table at the end, and those that the job names."""
    asked = {job.evaluation.select_best, *(metric.name for metric in job.evaluation.metrics)}
    specs = sorted(metric_specs(job), key=lambda spec: spec.shown)
    return [spec.name for spec in specs if spec.name != "loss" and (spec.shown or spec.name in asked)]


def _intervals(
    bootstrap: Bootstrap,
    figures: Figures,
    wanted: Collection[str],
    metrics: MetricSet,
    sites: Sequence[Tables],
) -> dict[str, Interval]:
    spreads, parts = metrics.spreads(sites), parts_of_means(metrics, sites)
    names = set(wanted) - set(metrics.no_interval)
    found: dict[str, Interval] = {}
    for name, values in ((name, values) for name, values in figures.items() if name in names):
        own = bootstrap.interval_of_mean(float(values[0]), parts[name]) if name in parts else None
        own = own or bootstrap.interval(values, spreads.get(name, 1.0))
        if own is not None:
            found[name] = own
    return found
