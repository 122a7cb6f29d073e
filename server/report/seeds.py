"""What runs that differ in their seed alone say together: over seeds and patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from server.report.content import Section, words
from server.report.differences import shared_metrics
from server.report.facts import RunFacts
from server.report.tables import shown_metrics
from shared.loading import loading
from shared.metrics.seed_spread import LEAST_SEEDS, Spread, drawn_means
from shared.text.plural import many
from shared.web.tables import Estimate, Table

if TYPE_CHECKING:
    from shared.metrics.bootstrap import Bootstrap
    from shared.metrics.replicates import Figures, Tables

LEAST_PATIENTS = 10
_DRAWS = 1000
_LEVELS = (np.arange(_DRAWS) + 0.5) / _DRAWS

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Seeds:
    """Runs of one job.

    Attributes:
        runs: One of each seed.
    """

    runs: Sequence[RunFacts]

    @cached_property
    def tables(self) -> "list[dict[str, Tables]]":
        """Of the test patients of each run, by site; none where they are not the same in all."""
        if not all(run.has_patients for run in self.runs):
            return []
        with loading():
            from server.report.paired import is_tested, same_patients  # noqa: PLC0415 (with PyTorch)
            from server.report.tested import patient_tables  # noqa: PLC0415

        found = [patient_tables(run) for run in self.runs]
        alike = all(found) and all(same_patients(found[0], own) for own in found)
        return [{site: one for site, one in own.items() if is_tested(one)} for own in found] if alike else []

    @property
    def patients(self) -> int | None:
        """How many have tested; None where they are not the same in all runs."""
        return self._patients_at(None) if self.tables else None

    def _patients_at(self, site: str | None) -> int:
        from shared.metrics.replicates import patients_in  # noqa: PLC0415 (with PyTorch)

        return sum(patients_in(own) for name, own in self.tables[0].items() if site in (None, name))

    def drawn(self, site: str | None = None) -> "list[Figures]":
        """Return the figures of each run for the same draws of the patients, the first the test itself.

        Nothing where the patients are not known, and the test itself alone where they are too few.

        Args:
            site: Of whose patients alone; None takes all.
        """
        if site not in self._drawn:
            self._drawn[site] = self._draw(site)
        return self._drawn[site]

    @cached_property
    def _drawn(self) -> "dict[str | None, list[Figures]]":
        return {}

    def _draw(self, site: str | None) -> "list[Figures]":
        if site is not None and self.tables and site not in self.tables[0]:
            return []
        tables = [list(own.values()) if site is None else [own[site]] for own in self.tables]
        if not tables:
            return []
        from server.report.paired import metrics_of  # noqa: PLC0415 (with PyTorch)

        draws = self._bootstrap(self._patients_at(site)).draws
        return [metrics_of(run).resampled(own, draws) for run, own in zip(self.runs, tables, strict=True)]

    def _bootstrap(self, patients: int) -> "Bootstrap":
        from shared.metrics.bootstrap import Bootstrap  # noqa: PLC0415 (with PyTorch)

        return Bootstrap(patients, _DRAWS if patients >= LEAST_PATIENTS else 0, self._seed)

    def values(self, metric: str, site: str | None = None) -> list[float]:
        """Return a metric of each seed, from the patients where they are known; nothing if one has none."""
        if (figures := self.drawn(site)) and all(metric in own for own in figures):
            exact = [float(own[metric][0]) for own in figures]
            return [] if np.isnan(exact).any() else exact
        found = [
            run.estimate(metric) if site is None else run.site_estimate(site, metric) for run in self.runs
        ]
        values = [one.value for one in found if one.value is not None]
        return values if len(values) == len(self.runs) else []

    def figures(self, metric: str, site: str | None = None) -> Numbers | None:
        """Return the mean of a metric over the seeds in each of the bootstrap's draws; None where unknown."""
        found = self.drawn(site)
        if not found or any(metric not in own for own in found):
            return None
        from server.report.paired import metrics_of  # noqa: PLC0415 (with PyTorch)

        if metric in metrics_of(self.runs[0]).no_interval:
            return None
        mean: Numbers = np.mean([own[metric] for own in found], axis=0)
        return mean

    def with_other_patients(self, figures: Numbers | None, site: str | None = None) -> Numbers | None:
        """Return what a figure would be with other patients (1000,); None where that is unknown.

        Args:
            figures: In each of the draws, as of `figures`.
            site: Of whose patients it is.
        """
        if figures is None or len(figures) == 1:
            return None
        return self._bootstrap(self._patients_at(site)).confidence(figures, _LEVELS)

    def spread(self, metric: str, site: str | None = None) -> Spread | None:
        """Return a metric over the seeds, of one hospital's test or of all; None where a run has none."""
        values = self.values(metric, site)
        others = self.with_other_patients(self.figures(metric, site), site)
        return Spread.of(values, others, self._seed) if values else None

    def drawn_means(self, metric: str) -> Numbers | None:
        """Return what the mean over the seeds would be with other patients and seeds, see there."""
        values = self.values(metric)
        others = self.with_other_patients(self.figures(metric))
        return drawn_means(values, others, self._seed) if values else None

    @property
    def _seed(self) -> int:
        return self.runs[0].job.job.seed


def are_seeds(runs: Sequence[RunFacts]) -> bool:
    """Say whether runs are of one job, each with another seed."""
    jobs = [run.job.model_dump(mode="json") for run in runs]
    seeds = {job["job"].pop("seed") for job in jobs}
    return len(seeds) == len(runs) > 1 and all(job == jobs[0] for job in jobs)


def seeds_section(seeds: Seeds) -> Section:
    """Return each metric over the seeds, and each hospital's first one."""
    spreads = {metric: seeds.spread(metric) for metric in shared_metrics(seeds.runs)}
    rows = [[words(metric), *_cells(own)] for metric, own in spreads.items() if own is not None]
    number = len(seeds.runs)
    columns = ("metric", "mean", "standard deviation", "lowest", "highest")
    lows = {words(metric): seeds.values(metric) for metric in spreads}
    full = [[*row, min(lows[row[0]]), max(lows[row[0]])] for row in rows]
    tables = [Table("seeds", f"Over {many(number, 'seed')}", columns, full, (_how(seeds),))]
    if sites := _site_table(seeds):
        tables.append(sites)
    says = "The runs are of one job and differ in the seed alone."
    return Section("seeds", "What the seed does", (says,), tables=tables)


def estimate(spread: Spread | None) -> Estimate:
    """Return a figure over seeds as a table's cell."""
    if spread is None:
        return Estimate(None)
    if np.isnan(spread.low):
        return Estimate(spread.mean)
    return Estimate(spread.mean, spread.low, spread.high)


def _cells(spread: Spread) -> list[Any]:
    return [estimate(spread), None if np.isnan(spread.deviation) else spread.deviation]


def _how(seeds: Seeds) -> str:
    if len(seeds.runs) < LEAST_SEEDS:
        return f"No interval: {many(len(seeds.runs), 'seed')} say too little of what others would give."
    if seeds.patients is None:
        return "Intervals are 95 % of the mean, over seeds alone: the runs have not tested the same patients."
    if seeds.patients < LEAST_PATIENTS:
        return (
            f"Intervals are 95 % of the mean, over seeds alone: {seeds.patients} test patients are too few."
        )
    return f"Intervals are 95 % of the mean, over seeds and the {seeds.patients} test patients."


def _site_table(seeds: Seeds) -> Table | None:
    metric = shown_metrics(seeds.runs[0].job)[0]
    sites = list(seeds.runs[0].test.get("sites") or {})
    spreads = {site: own for site in sites if (own := seeds.spread(metric, site)) is not None}
    if not spreads:
        return None
    rows = [[site, *_cells(own)] for site, own in spreads.items()]
    title = f"Each hospital over the seeds: {words(metric)}"
    return Table("seeds-by-site", title, ("site", "mean", "standard deviation"), rows)
