"""What each hospital brought, as people look at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.report.content import Report, Section, words
from shared.metrics.figures import Figure, Point
from shared.text.plural import many
from shared.web.tables import Estimate, Table, TableCell, number
from simulate.contribution.shapley import Brought

_Z = 1.96


@dataclass(frozen=True)
class Contribution:
    """What was found.

    Attributes:
        name: Of the job.
        metric: By which models are worth something; where lower values are better, its negative.
        nothing: What the first model is worth, and `whole` that of all sites; means over the seeds.
        shapley: By site.
        left_out: What all lose without the site.
        seeds: With which everything was done.
        permutations: Orders that were drawn; 0 where all coalitions were trained.
        coalitions: That were trained.
        judged: Models that were put together from updates; 0 where each coalition was trained.
    """

    name: str
    metric: str
    nothing: float
    whole: float
    shapley: Mapping[str, Brought]
    left_out: Mapping[str, Brought]
    seeds: Sequence[int]
    permutations: int
    coalitions: int
    judged: int = 0

    def table(self) -> Table:
        """Return the sites, those that brought most first."""
        order = sorted(self.shapley, key=lambda site: (-self.shapley[site].value, site))
        whole = self.whole - self.nothing
        rows: list[list[TableCell]] = [
            [
                site,
                _estimate(self.shapley[site]),
                f"{self.shapley[site].value / whole:.0%}" if whole > 0 else "–",
                _estimate(self.left_out[site]),
            ]
            for site in order
        ]
        columns = ("hospital", "Shapley value", "share", "lost without it")
        return Table(
            "contribution", f"What each hospital brought: {words(self.metric)}", columns, rows, self._notes()
        )

    def _notes(self) -> list[str]:
        how = "all coalitions" if not self.permutations else many(self.permutations, "order")
        notes = [
            f"From {self.nothing:.3f} (the first model) to {self.whole:.3f} (all hospitals) on the "
            "validation patients of all hospitals; the test was not looked at.",
            f"{how}, {many(len(self.seeds), 'seed')}, {many(self.coalitions, 'training')}.",
        ]
        if self.judged:
            notes.append(
                f"GTG-Shapley: {many(self.judged, 'model')} of coalitions put together from the updates of "
                "each round, an approximation; what is lost without a hospital is a sum over rounds, too."
            )
        if any(one.error is not None for one in self.shapley.values()):
            notes.append(
                "Intervals of 95 %: by chance of " + ("seeds." if len(self.seeds) > 1 else "orders.")
            )
        else:
            notes.append("Of one seed: how far chance moves a training is not known (--seeds).")
        return notes


def _estimate(one: Brought) -> Estimate:
    if one.error is None:
        return Estimate(one.value)
    return Estimate(one.value, one.value - _Z * one.error, one.value + _Z * one.error)


def report_of(found: Contribution) -> Report:
    """Return the report."""
    says = "What a hospital adds to the model of those that came before it, over all orders of coming."
    points: list[Point] = [(site, "", own.value) for site, own in found.shapley.items()]
    title = f"What each hospital brought: {words(found.metric)}"
    figure = Figure("shapley", title, ("hospital", "", "Shapley value"), points, "dots")
    section = Section(
        "contribution", "What each hospital brought", (says,), tables=(found.table(),), figures=(figure,)
    )
    facts = [("first model", number(found.nothing)), ("all hospitals", number(found.whole))]
    return Report(
        f"{found.name}: contribution", "From rehearsals with some of the hospitals.", facts, [section]
    )
