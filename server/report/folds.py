"""What the runs of a cross-validation say together, and two of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any, Self

from server.report.content import Section, words
from server.report.facts import RunFacts, finite
from server.report.tables import shown_metrics
from shared.metrics.resampled_t import Resampled
from shared.series import Member, Series
from shared.text.plural import many
from shared.web.tables import Estimate, Table

_HOW = (
    "On the validation patients of the last round, who chose nothing; intervals of 95 % are corrected for "
    "what folds share (Nadeau and Bengio 2003)."
)


@dataclass(frozen=True)
class Folds:
    """Runs of a cross-validation that have done their last round.

    Attributes:
        runs: By the fold that judged each, and how folds were drawn.
        number: Folds of each draw.
    """

    runs: Mapping[tuple[int, int], RunFacts]
    number: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read those of a series.

        Raises:
            RunError: A file can't be read.
        """
        series = Series.read(folder)
        found = {
            (member.draw, member.fold): facts
            for member in series.members
            if member.fold is not None and (facts := _over(folder, member)) is not None
        }
        return cls(found, len({member.fold for member in series.members}))

    @property
    def first(self) -> RunFacts:
        """One of them."""
        return next(iter(self.runs.values()))

    @cached_property
    def _rows(self) -> dict[tuple[int, int], tuple[dict[str, str], dict[str, dict[str, str]]]]:
        """Of each fold the last row of the federation, and that of each site."""
        found = {}
        for key, run in self.runs.items():
            last = run.rounds[-1]
            sites = {
                row["site"]: row
                for row in run.site_rows
                if row["phase"] == "val" and row["round"] == last["round"]
            }
            found[key] = last, sites
        return found

    def values(self, metric: str, site: str | None = None) -> dict[tuple[int, int], float]:
        """Return a metric of each fold that has it, of one hospital's patients or of all."""
        found = {}
        for key, (whole, sites) in self._rows.items():
            row = whole if site is None else sites.get(site, {})
            if (value := finite(row.get(metric))) is not None:
                found[key] = value
        return found

    def of(self, metric: str, site: str | None = None) -> Resampled | None:
        """Return a metric over the folds; None where not every one has it."""
        values = self.values(metric, site)
        return Resampled.of(list(values.values()), self.number) if len(values) == len(self.runs) else None


def _over(folder: Path, member: Member) -> RunFacts | None:
    path = folder / member.name
    if not (path / "run.json").exists():
        return None
    facts = RunFacts.read(path)
    return facts if facts.record.last_round() == facts.job.job.rounds else None


def folds_section(folds: Folds) -> Section:
    """Return each metric over the folds, and each hospital's first one."""
    metrics = shown_metrics(folds.first.job)
    rows = [_row(words(metric), own, folds.values(metric)) for metric in metrics if (own := folds.of(metric))]
    columns = ("metric", "mean", "standard deviation", "lowest", "highest")
    tables = [
        Table("folds", f"Over {many(len(folds.runs), 'run')}, one for each fold", columns, rows, (_HOW,))
    ]
    sites = [
        _row(site, own, folds.values(metrics[0], site))
        for site in folds.first.sites
        if (own := folds.of(metrics[0], site)) is not None
    ]
    if sites:
        title = f"Each hospital over the folds: {words(metrics[0])}"
        tables.append(Table("folds-by-site", title, ("site", *columns[1:]), sites))
    singles = [
        [draw, fold, *(folds.values(metric).get((draw, fold)) for metric in metrics)]
        for draw, fold in folds.runs
    ]
    tables.append(Table("each-fold", "Each fold", ("draw", "fold", *map(words, metrics)), singles))
    says = (
        "Each patient who does not test has validated once in each draw of the folds. The test stayed "
        "closed: it is for the one job that comes out."
    )
    return Section("folds", "Cross-validation", (says,), tables=tables)


def _row(name: str, own: Resampled, values: Mapping[tuple[int, int], float]) -> list[Any]:
    return [name, _estimate(own), own.deviation, min(values.values()), max(values.values())]


def _estimate(own: Resampled) -> Estimate:
    return Estimate(own.mean) if isnan(own.low) else Estimate(own.mean, own.low, own.high)


def differences(one: Folds, other: Folds, metrics: Sequence[str]) -> dict[str, Resampled]:
    """Return by how much the second is above the first, fold by fold of the same patients."""
    found = {}
    for metric in metrics:
        values = [own.values(metric) for own in (one, other)]
        if values[0].keys() == values[1].keys() == one.runs.keys():
            gaps = [values[1][key] - values[0][key] for key in values[0]]
            found[metric] = Resampled.of(gaps, one.number)
    return found
