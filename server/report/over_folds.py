"""Cross-validations of several jobs side by side: is one of them better, fold by fold?"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from server.report.content import Report, Section, words
from server.report.folds import Folds, differences
from server.report.tables import shown_metrics
from shared.errors import RunError
from shared.metrics.holm import holm
from shared.metrics.resampled_t import Resampled
from shared.series import Series
from shared.series_folder import is_series
from shared.text.plural import many
from shared.web.tables import Estimate, Table

_ALPHA = 0.05
_NOTE = (
    "Differences fold by fold, on the same patients; intervals and p by the corrected resampled t-test "
    "(Nadeau and Bengio 2003). p (Holm) is corrected for the {} here and decides what is better."
)


def are_folds(folders: Sequence[Path]) -> bool:
    """Say whether all folders are cross-validations."""
    return all(is_series(folder) and Series.read(folder).kind == "folds" for folder in folders)


def report_of_cross_validations(folders: Sequence[Path]) -> Report:
    """Return jobs side by side.

    Raises:
        RunError: One has no run that is over, or had other hospitals or folds.
    """
    jobs = {folder.resolve().name: Folds.read(folder) for folder in folders}
    first = next(iter(jobs.values()))
    for folder, own in zip(folders, jobs.values(), strict=True):
        if not own.runs:
            raise RunError("no run of this series is over", where=folder)
        if own.runs.keys() != first.runs.keys() or _divided(folder) != _divided(folders[0]):
            raise RunError(
                "was divided into other folds, or is not over in as many of them",
                where=folder,
                remedy="Compare cross-validations of the same hospitals, with the same seed of the job.",
            )
    metrics = [name for name in shown_metrics(first.first.job) if all(own.of(name) for own in jobs.values())]
    found = {
        (one, other): differences(jobs[one], jobs[other], metrics) for one, other in combinations(jobs, 2)
    }
    facts = [(name, many(len(own.runs), "fold")) for name, own in jobs.items()]
    says = "What each job reaches on the folds, and by how much they differ."
    section = Section("folds", "Cross-validations", tables=[_means(jobs, metrics), *_tables(jobs, found)])
    return Report(f"{len(jobs)} jobs side by side", says, facts, [section])


def _divided(folder: Path) -> tuple[Any, ...]:
    series = Series.read(folder)
    return series.sites, series.job["job"]["dataset"], series.job["job"]["seed"]


def _means(jobs: Mapping[str, Folds], metrics: Sequence[str]) -> Table:
    rows: list[list[Any]] = [
        [words(name), *(_estimate(own.of(name)) for own in jobs.values())] for name in metrics
    ]
    return Table("results", "Mean over the folds", ("metric", *jobs), rows)


def _tables(
    jobs: Mapping[str, Folds], found: Mapping[tuple[str, str], Mapping[str, Resampled]]
) -> list[Table]:
    flat = [own.p for pairs in found.values() for own in pairs.values()]
    corrected, tables = iter(holm(flat)), []
    for number, ((one, other), pairs) in enumerate(found.items(), 1):
        rows: list[list[Any]] = []
        for metric, own in pairs.items():
            p = next(corrected)
            gain = -own.mean if jobs[one].first.is_lower_better(metric) else own.mean
            better = "not shown" if not p < _ALPHA else "the second" if gain > 0 else "the first"
            rows.append([words(metric), _estimate(own), own.p, p, better])
        columns = ("metric", "difference", "p", "p (Holm)", "better")
        note = _NOTE.format(many(len(flat), "comparison"))
        tables.append(Table(f"difference-{number}", f"{other} minus {one}", columns, rows, (note,)))
    return tables


def _estimate(own: Resampled | None) -> Estimate:
    return Estimate(None) if own is None else Estimate(own.mean, own.low, own.high)
