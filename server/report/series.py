"""The report of a series: runs of one job that answer one question together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.report import sections
from server.report.content import Report, Section, words
from server.report.facts import RunFacts
from server.report.folds import Folds, folds_section
from server.report.learning_curve import curve_section
from server.report.seeds import Seeds, estimate, seeds_section
from server.report.tables import shown_metrics
from shared.errors import RunError
from shared.metrics.seed_spread import Spread
from shared.series import Series, Variant
from shared.text.plural import many
from shared.web.tables import Estimate, Table

_SAYS = {
    "seeds": "One job with several seeds: what came out, and how much of it the seed makes.",
    "leave-one-site-out": "What each hospital gets from a model that it took no part in.",
    "sites": "What more hospitals bring.",
    "patients": "What more patients bring.",
    "folds": "A job judged on each fold of the patients by a model that has not seen them.",
}


def report_of_series(folder: Path) -> Report:
    """Return what the finished runs of a series say together.

    Raises:
        RunError: None has finished, or a file can't be read.
    """
    series = Series.read(folder)
    if series.kind == "folds":
        return _report_of_folds(series, folder)
    found = _finished(series, folder)
    if not found:
        raise _none_finished(folder)
    done = sum(len(own.runs) for own in found.values())
    parts: list[Section] = []
    if series.kind == "seeds":
        parts.append(seeds_section(next(iter(found.values()))))
    elif series.kind == "leave-one-site-out":
        parts.append(_without_section(series, found))
    else:
        parts.append(curve_section(series, found))
    parts += [_runs_section(found), sections.asked_section(next(iter(found.values())).runs[0])]
    facts = [("runs", f"{done} of {len(series.members)}"), ("hospitals", str(len(series.sites)))]
    return Report(folder.resolve().name, _SAYS[series.kind], facts, parts)


def _none_finished(folder: Path) -> RunError:
    return RunError(
        "no run of this series has finished",
        where=folder,
        remedy="`wardround simulate --resume` goes on.",
    )


def _report_of_folds(series: Series, folder: Path) -> Report:
    folds = Folds.read(folder)
    if not folds.runs:
        raise _none_finished(folder)
    parts = [folds_section(folds), sections.asked_section(folds.first)]
    facts = [("runs", f"{len(folds.runs)} of {len(series.members)}"), ("hospitals", str(len(series.sites)))]
    return Report(folder.resolve().name, _SAYS[series.kind], facts, parts)


def _finished(series: Series, folder: Path) -> dict[str, Seeds]:
    """Return the finished runs of each variant."""
    found: dict[str, list[RunFacts]] = {}
    for member in series.members:
        path = folder / member.name
        if (path / "run.json").exists() and (facts := RunFacts.read(path)).status == "finished":
            found.setdefault(member.variant, []).append(facts)
    return {variant: Seeds(runs) for variant, runs in found.items()}


def _runs_section(found: Mapping[str, Seeds]) -> Section:
    runs = [run for own in found.values() for run in own.runs]
    metric = shown_metrics(runs[0].job)[0]
    rows: list[list[Any]] = [[run.name, run.job.job.seed, run.status, run.estimate(metric)] for run in runs]
    table = Table("runs", "The runs", ("run", "seed", "status", words(metric)), rows)
    return Section("runs", "The runs", tables=(table,))


def _without_section(series: Series, found: Mapping[str, Seeds]) -> Section:
    """Return how the model without each site does at it, beside the one of all."""
    first = next(iter(found.values())).runs[0]
    tables = []
    every = series.variants[0].name
    for metric in shown_metrics(first.job):
        rows: list[list[Any]] = [
            [site, *(_at(found.get(name), metric, site) for name in (every, variant.name))]
            for variant in series.variants[1:]
            for site in _left_out(series, variant)
        ]
        if any(cell.value is not None for row in rows for cell in row[1:]):
            title = f"Each hospital's test: {words(metric)}"
            tables.append(Table(f"without-{metric}", title, ("site", "with it", "without it"), rows))
    says = [
        "With it: the model of all hospitals. Without it: a model of the others, which chose its round on "
        "their validation patients; the hospital only tests, with the same patients.",
        *_worst(series, found, shown_metrics(first.job)[0]),
    ]
    return Section("without", "A hospital that takes no part", says, tables=tables)


def _left_out(series: Series, variant: Variant) -> Sequence[str]:
    return [site for site in variant.held_out if site not in series.variants[0].held_out]


def _at(seeds: Seeds | None, metric: str, site: str) -> Estimate:
    return Estimate(None) if seeds is None else estimate(seeds.spread(metric, site))


def _worst(series: Series, found: Mapping[str, Seeds], metric: str) -> list[str]:
    """Return a sentence on where a model does worst that has never seen the hospital."""
    spreads: dict[str, Spread] = {}
    for variant in series.variants[1:]:
        for site in _left_out(series, variant):
            if variant.name in found and (own := found[variant.name].spread(metric, site)) is not None:
                spreads[site] = own
    if len(spreads) < len(series.variants) - 1:
        return []
    lower = next(iter(found.values())).runs[0].is_lower_better(metric)
    order = sorted(spreads, key=lambda site: spreads[site].mean, reverse=lower)
    worst, best = order[0], order[-1]
    return [
        f"{words(metric)[0].upper()}{words(metric)[1:]} at a hospital never seen: from "
        f"{spreads[worst].mean:.3f} at {worst} to {spreads[best].mean:.3f} at {best} "
        f"({many(len(spreads), 'hospital')})."
    ]
