"""Several jobs side by side, each with its seeds: what differs between jobs, and what between seeds alone."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from server.report.content import Report, Section, words
from server.report.differences import shared_metrics
from server.report.facts import RunFacts
from server.report.paired import same_patients
from server.report.seeds import Seeds, estimate
from server.report.words import asked
from shared.errors import RunError
from shared.metrics.holm import holm
from shared.metrics.paired_tests import Difference
from shared.metrics.seed_spread import drawn_means
from shared.series import Series, runs_of
from shared.series_folder import is_series
from shared.text.plural import many
from shared.web.tables import Estimate, Table

_ALPHA = 0.05
_NOTE = (
    "Means over the seeds, on the same patients; runs of one seed go together. p (Holm) is corrected for the "
    "{} here and decides what is better; the intervals are not."
)


def report_of_jobs(folders: Sequence[Path]) -> Report:
    """Return jobs side by side.

    Args:
        folders: Of a series of seeds each, or of a single run.

    Raises:
        RunError: A series is of another kind, or has no finished run.
    """
    jobs = {folder.resolve().name: _seeds(folder) for folder in folders}
    every = [run for own in jobs.values() for run in own.runs]
    metrics = shared_metrics(every)
    rows: list[list[Any]] = [
        [words(metric), *(estimate(own.spread(metric)) for own in jobs.values())] for metric in metrics
    ]
    table = Table("results", "Mean over the seeds", ("metric", *jobs), rows)
    facts = [(name, many(len(own.runs), "seed")) for name, own in jobs.items()]
    says = "What came out of each job over its seeds, and by how much they differ on the test patients."
    parts = [Section("results", "What came out", tables=(table,)), _differences(jobs, metrics), _asked(jobs)]
    return Report(f"{len(jobs)} jobs side by side", says, facts, parts)


def _seeds(folder: Path) -> Seeds:
    if not is_series(folder):
        return Seeds([RunFacts.read(folder)])
    if Series.read(folder).kind != "seeds":
        raise RunError(
            "is compared with its like alone: series of seeds with each other, or cross-validations",
            where=folder,
        )
    found = [facts for path in runs_of(folder) if (facts := RunFacts.read(path)).status == "finished"]
    if not found:
        raise RunError("no run of this series has finished", where=folder)
    return Seeds(found)


def _differences(jobs: Mapping[str, Seeds], metrics: Sequence[str]) -> Section:
    says: list[str] = []
    found: dict[tuple[str, str], dict[str, Difference]] = {}
    for (first, one), (second, other) in combinations(jobs.items(), 2):
        if not (one.tables and other.tables and same_patients(one.tables[0], other.tables[0])):
            says.append(
                f"{second} minus {first}: nothing is said. They have tested other patients, or too few."
            )
            continue
        found[first, second] = {
            metric: own for metric in metrics if (own := _difference(one, other, metric)) is not None
        }
    flat = [own for pairs in found.values() for own in pairs.values()]
    corrected, tables = iter(holm([own.p for own in flat])), []
    for number, ((first, second), pairs) in enumerate(found.items(), 1):
        rows = [_row(jobs[first].runs[0], metric, own, next(corrected)) for metric, own in pairs.items()]
        columns = ("metric", "difference", "p", "p (Holm)", "better")
        note = _NOTE.format(many(len(flat), "comparison"))
        tables.append(Table(f"difference-{number}", f"{second} minus {first}", columns, rows, (note,)))
    return Section("differences", "Is it chance?", says, tables=tables)


def _row(run: RunFacts, metric: str, one: Difference, corrected: float) -> list[Any]:
    gain = -one.value if run.is_lower_better(metric) else one.value
    better = "not shown" if corrected >= _ALPHA else "the second" if gain > 0 else "the first"
    return [words(metric), Estimate(one.value, one.low, one.high), one.p, corrected, better]


def _difference(one: Seeds, other: Seeds, metric: str) -> Difference | None:
    """Return by how much the means over the seeds differ; None where one is not known."""
    figures = [own.figures(metric) for own in (one, other)]
    values = [np.array(own.values(metric)) for own in (one, other)]
    if figures[0] is None or figures[1] is None or not all(map(len, values)):
        return None
    patients = one.with_other_patients(figures[1] - figures[0])
    if patients is None:
        return None
    seeds = [[run.job.job.seed for run in own.runs] for own in (one, other)]
    if seeds[0] == seeds[1]:  # with the same first model and order of the images
        moved = drawn_means(list(values[1] - values[0]), patients, seeds[0][0])
    else:
        parts = [drawn_means(list(own), None, seed) for seed, own in enumerate(values)]
        moved = parts[1] - parts[0] + np.resize(patients - patients.mean(), len(parts[0]))
    low, high = np.percentile(moved, (2.5, 97.5))
    tail = min((moved <= 0).sum(), (moved >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(moved) + 1))
    return Difference(
        float(values[1].mean() - values[0].mean()), float(low), float(high), float(p), "bootstrap"
    )


def _asked(jobs: Mapping[str, Seeds]) -> Section:
    choices = [
        {str(key): str(choice) for key, choice in asked(own.runs[0].job).rows} for own in jobs.values()
    ]
    keys = dict.fromkeys(key for own in choices for key in own if key != "seed")
    rows = [[key, *(own.get(key, "–") for own in choices)] for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    tables = (Table("asked", "The jobs", ("what", *jobs), differ),) if differ else ()
    return Section("asked", "How they differ", () if differ else ("All asked for the same.",), tables=tables)
