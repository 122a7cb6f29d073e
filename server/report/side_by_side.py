"""Several runs side by side, and by how much they differ on the same test patients."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import isnan
from statistics import mean, stdev
from typing import Any

import numpy as np

from server.report import sections
from server.report.content import Report, Section, words
from server.report.facts import Outcome, RunFacts
from server.report.one_run import patient_tables, task_of
from server.report.tables import shown_metrics
from server.report.words import asked
from shared.metrics.figures import Figure, Point
from shared.metrics.replicates import Figures, Tables, patients_in
from shared.metrics.spec import metric_names
from shared.web.tables import Estimate, Table

_DRAWS = 2000
_LEAST_PATIENTS = 10
_WHO = "who"  # table with a digest of the patients' names


def report_of_several(runs: Sequence[RunFacts]) -> Report:
    """Return runs side by side.

    Raises:
        RunError: A file of one can't be read, or they can't be compared.
    """
    names = _names(runs)
    parts = [
        _results(names, runs),
        *_over_seeds(runs),
        _differences(names, runs),
        _learning(names, runs),
        _asked(names, runs),
    ]
    facts = [
        (name, str(run.estimate(shown_metrics(run.job)[0]))) for name, run in zip(names, runs, strict=True)
    ]
    says = "What came out of each run, and by how much they differ on the test patients."
    return Report(f"{len(runs)} runs side by side", says, facts, parts)


def _names(runs: Sequence[RunFacts]) -> list[str]:
    """Return a name for each run; where a folder's name appears twice, with a number."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def _shared_metrics(runs: Sequence[Outcome]) -> list[str]:
    order = [name for run in runs for name in [*shown_metrics(run.job), *metric_names(run.job)]]
    return [name for name in dict.fromkeys(order) if all(name in metric_names(run.job) for run in runs)]


def _results(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    metrics = _shared_metrics(runs)
    rows: list[list[Any]] = [[words(name), *(run.estimate(name) for run in runs)] for name in metrics]
    tables = [Table("results", "All hospitals together", ("metric", *names), rows)]
    sites = list(dict.fromkeys(site for run in runs for site in run.test.get("sites", {})))
    for metric in shown_metrics(runs[0].job)[:1]:
        if metric not in metrics:
            continue
        own: list[list[Any]] = [[site, *(run.site_estimate(site, metric) for run in runs)] for site in sites]
        title = f"Each hospital: {words(metric)}"
        tables.append(Table("results-by-site", title, ("site", *names), own))
    counts = [
        ["status", *(run.status for run in runs)],
        ["test patients", *(_text(run.test_patients()) for run in runs)],
        ["rounds", *(f"{len(run.rounds)} of {run.job.job.rounds}" for run in runs)],
        ["MB sent by the hospitals", *(_text(_megabytes(run)) for run in runs)],
    ]
    tables.append(Table("runs", "The runs", ("what", *names), counts))
    return Section("results", "What came out", tables=tables)


def _over_seeds(runs: Sequence[RunFacts]) -> Iterator[Section]:
    """Yield how far the seed moves the figures, where the runs differ in nothing else."""
    jobs = [run.job.model_dump(mode="json") for run in runs]
    seeds = {job["job"].pop("seed") for job in jobs}
    if len(seeds) < len(runs) or any(job != jobs[0] for job in jobs):
        return
    rows: list[list[Any]] = []
    for metric in _shared_metrics(runs):
        values = [value for run in runs if (value := run.estimate(metric).value) is not None]
        if len(values) == len(runs):
            rows.append([words(metric), mean(values), stdev(values), min(values), max(values)])
    columns = ("metric", "mean", "standard deviation", "lowest", "highest")
    table = Table("seeds", f"Over {len(runs)} seeds", columns, rows)
    says = "The runs are of one job and differ in the seed alone."
    yield Section("seeds", "What the seed does", (says,), tables=(table,))


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _megabytes(run: RunFacts) -> float | None:
    sent = run.about.get("bytes_sent")
    return None if not sent else round(sum(sent.values()) / 1e6, 3)


def _differences(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    says: list[str] = []
    tables: list[Table] = []
    for (first, one), (second, other) in combinations(zip(names, runs, strict=True), 2):
        found = _paired(one, other)
        title = f"{second} minus {first}"
        if isinstance(found, str):
            rows = list(_unpaired(one, other))
            says.append(f"{title}: {found}")
            columns = ["metric", "difference", "chance?"]
            note = "As if the tests were of different patients: wider than a paired comparison would be."
        else:
            rows, columns = found, ["metric", "difference", "p", "better"]
            note = "Paired: both runs judged by the same patients, drawn together by a bootstrap."
        if rows:
            tables.append(Table(f"difference-{len(tables) + 1}", title, columns, rows, (note,)))
        elif isinstance(found, str):
            says.append("Nothing can be said about their difference: no interval of either is known.")
    return Section("differences", "Is it chance?", says, tables=tables)


def _paired(one: RunFacts, other: RunFacts) -> list[list[Any]] | str:
    """Return the differences of two runs over the same patients; where they can't be had, the reason."""
    tables = [patient_tables(run) for run in (one, other)]
    if not all(tables):
        return "single patients are not known: a real run shows none, and only rehearsals keep them."
    if not _same_patients(*tables):
        return "the two were not tested on the same patients."
    sites = [{site: own for site, own in found.items() if _is_tested(own)} for found in tables]
    patients = sum(patients_in(own) for own in sites[0].values())
    if patients < _LEAST_PATIENTS:
        return f"{patients} test patients are too few for an interval."
    generator = np.random.default_rng(one.job.job.seed)
    drawn = generator.multinomial(patients, np.full(patients, 1 / patients), _DRAWS)
    draws = np.vstack([np.ones(patients, np.int64), drawn])
    figures = [
        _resampled(run, list(own.values()), draws) for run, own in zip((one, other), sites, strict=True)
    ]
    return [
        _difference(one, metric, figures[1][metric] - figures[0][metric])
        for metric in _shared_metrics([one, other])
        if metric in figures[0] and metric in figures[1] and not isnan(figures[0][metric][0])
    ]


def _resampled(run: RunFacts, sites: Sequence[Tables], draws: Any) -> Figures:
    task = task_of(run)
    metrics = task.metrics(task.fine_edges())
    found = metrics.resampled(sites, draws)
    return {name: values for name, values in found.items() if name not in metrics.no_interval}


def _difference(run: RunFacts, metric: str, values: Any) -> list[Any]:
    """Return a row: the difference, its interval, and the two-sided p that it is on no side of 0."""
    low, high = np.nanpercentile(values[1:], (2.5, 97.5))
    known = values[1:][~np.isnan(values[1:])]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(known) + 1))
    sign = -values[0] if run.is_lower_better(metric) else values[0]
    better = "not shown" if low <= 0 <= high else "the second" if sign > 0 else "the first"
    return [words(metric), Estimate(float(values[0]), float(low), float(high)), float(p), better]


def _same_patients(one: Mapping[str, Tables], other: Mapping[str, Tables]) -> bool:
    if set(one) != set(other):
        return False
    return all(
        _WHO in one[site] and _WHO in other[site] and bool((one[site][_WHO] == other[site][_WHO]).all())
        for site in one
    )


def _is_tested(tables: Tables) -> bool:
    return "patient" in tables


def _unpaired(one: RunFacts, other: RunFacts) -> Iterator[list[Any]]:
    """Yield differences with intervals from those of the runs (Newcombe, Stat Med 1998, method 10)."""
    for metric in _shared_metrics([one, other]):
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


def _learning(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    metric = shown_metrics(runs[0].job)[0]
    points: list[Point] = []
    for name, run in zip(names, runs, strict=True):
        curve = sections.curve(run, metric) if metric in metric_names(run.job) else None
        points += [(name, p[1], p[2]) for p in (curve.points if curve else ()) if p[0] == "federation"]
    if not points:
        return Section("learning", "How they learnt", ("No round has been judged.",))
    title = f"{words(metric)[0].upper()}{words(metric)[1:]} on validation patients"
    figure = Figure("rounds", title, ("run", "round", words(metric)), points, says=f"{title}, by round.")
    return Section("learning", "How they learnt", figures=(figure,))


def _asked(names: Sequence[str], runs: Sequence[RunFacts]) -> Section:
    choices = [{str(key): str(choice) for key, choice in asked(run.job).rows} for run in runs]
    keys = list(dict.fromkeys(key for own in choices for key in own))
    rows = [[key, *(own.get(key, "–") for own in choices)] for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    same = ", ".join(str(row[0]) for row in rows if len(set(row[1:])) == 1)
    says = [f"The same in all: {same}."] if same else []
    if not differ:
        return Section("asked", "How they differ", ("All asked for the same.",))
    return Section(
        "asked", "How they differ", says, tables=(Table("asked", "The jobs", ("what", *names), differ),)
    )
