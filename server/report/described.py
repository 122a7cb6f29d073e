"""What a run that describes the sites' data has found, as people look at it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from server.report.content import Section
from shared.job.describing import QUANTILES
from shared.job.schema import JobSpec
from shared.landmarks import INNER
from shared.metrics.figures import Figure, Point
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import Numbers, Statistics, means_and_deviations
from shared.tasks.options import ClassesOptions
from shared.text.plural import many
from shared.web.tables import Table, TableCell, number

if TYPE_CHECKING:
    from server.report.site_differences import Difference

ALL = "all sites"
_CERTAIN = 0.05
_EDGE = 0.01  # landmarks of all sites stay so far from the ends
_APPROXIMATE = (
    "Figures are rounded and, as at a hospital, have noise that covers a few patients; tests allow for it. A "
    "small p-value says that a difference is not chance, its size says whether it matters."
)


class Described:
    """What is known of the data of a federation.

    Args:
        job: That describes them.
        about: What `run.json` says, as far as whoever looks may see it.
    """

    def __init__(self, job: JobSpec, about: Mapping[str, Any]) -> None:
        found = about.get("described") or {"all": {}, "sites": {}, "summed": [], "least": 1}
        self.job = job
        self.specs = job.statistics()
        self.least = int(found["least"])
        self.summed = tuple(found["summed"])
        self.total = self._read(found["all"])
        self.parts = {site: self._read(part) for site, part in found["sites"].items()}
        self._sites: Mapping[str, Any] = about.get("sites") or {}

    def _read(self, part: Mapping[str, Any]) -> Statistics:
        shapes = {spec.name: spec.shape for spec in self.specs}
        return {name: np.array(part.get(name, np.zeros(shape)), float) for name, shape in shapes.items()}

    def patients(self, site: str, side: str = "train") -> int | None:
        """Return how many patients a site tells of; None where it keeps that to itself."""
        count = (self._sites.get(site, {}).get("patients") or {}).get(side)
        return None if count is None else int(count)

    @cached_property
    def differences(self) -> "list[Difference]":
        """How the sites that are shown differ."""
        from server.report.site_differences import differences  # noqa: PLC0415  (with SciPy and PyTorch)

        patients = {site: self.patients(site) or 0 for site in self.parts}
        exclusive = True
        if isinstance(self.job.task, ClassesOptions):
            exclusive = not self.job.task.classified()[1].several
        return differences(self.specs, self.parts, patients, self.least, exclusive=exclusive)

    def columns(self) -> Iterator[tuple[str, dict[str, Numbers], Numbers]]:
        """Yield each column of numbers, its moments (3,) at each site, and those of all."""
        for spec in self.specs:
            if spec.kind == "moments":
                for at, name in enumerate(spec.of):
                    own = {site: part[spec.name][at] for site, part in self.parts.items()}
                    yield name, own, self.total[spec.name][at]

    def of_kind(self, kind: str) -> list[StatisticSpec]:
        """Return the statistics of a kind."""
        return [spec for spec in self.specs if spec.kind == kind]


def tables_of(described: Described) -> list[Table]:
    """Return what was found as tables, the differences first."""
    sites = [*described.parts, ALL]
    found = [_differences_table(described), *_classes_tables(described, sites)]
    rows = [
        [name, *(_mean(own[site]) for site in described.parts), _mean(total)]
        for name, own, total in described.columns()
    ]
    if rows:
        notes = ("Mean and standard deviation over patients; a dash where too few have it.",)
        found.append(Table("numbers", "Numbers", ("of each patient", *sites), rows, notes))
    return [table for table in (*found, _missing_table(described, sites)) if table is not None]


def _differences_table(described: Described) -> Table | None:
    rows: list[list[TableCell]] = [
        [one.what, one.site, _size(one), one.test, "–" if one.p is None else _p(one.p)]
        for one in described.differences
    ]
    if not rows:
        return None
    columns = ("figure", "site that differs most", "from the others by", "test", "p")
    return Table("differences", "How the sites differ", columns, rows, (_APPROXIMATE,))


def _size(one: "Difference") -> str:
    if not np.isfinite(one.effect):
        return "no value in common"
    return f"{number(one.effect, 2)} {'SD' if one.measure == 'standard deviations' else one.measure}"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else number(value)


def _classes_tables(described: Described, sites: Sequence[str]) -> Iterator[Table]:
    for spec in described.of_kind("counts"):
        parts = [*(part[spec.name] for part in described.parts.values()), described.total[spec.name]]
        rows = [[name, *(_count(part[at], part.sum()) for part in parts)] for at, name in enumerate(spec.of)]
        yield Table("classes", "Classes of the training data", ("class", *sites), rows)


def _count(count: float, total: float) -> str:
    return f"{count:.0f} ({count / total:.0%})" if count else "–"


def _mean(moments: Numbers) -> str:
    if not moments[0]:
        return "–"
    [mean], [deviation] = means_and_deviations(moments[None])
    spread = deviation if moments[2] * moments[0] > moments[1] ** 2 * (1 + 1e-9) else 0.0
    return f"{mean:.4g} ± {spread:.2g}"


def _missing_table(described: Described, sites: Sequence[str]) -> Table | None:
    counts = [described.patients(site) for site in described.summed]
    patients = [*(described.patients(site) for site in described.parts)]
    patients.append(None if None in counts else sum(count or 0 for count in counts))
    rows: list[list[TableCell]] = []
    for name, own, total in described.columns():
        lacking = [
            _lacking(one[0], known) for one, known in zip([*own.values(), total], patients, strict=True)
        ]
        if any(one not in ("–", "0 %") for one in lacking):
            rows.append([name, *lacking])
    if not rows:
        return None
    notes = ("Of counts that were rounded: a few percent may be nobody.",)
    return Table("missing", "Patients without a value", ("number", *sites), rows, notes)


def _lacking(known: float, patients: int | None) -> str:
    if not patients:
        return "–"
    return f"{max(0.0, 1 - known / patients):.0%}".replace("%", " %")


def landmarks_of(described: Described) -> list[list[float]]:
    """Return `[data] landmarks` for a job of these sites: a row for each channel of its only image.

    Nothing where there are several images, or too few patients. Where noise has put them out of their order,
    they are put back.
    """
    specs = [spec for spec in described.of_kind("moments") if spec.name.endswith(" landmarks")]
    if len(specs) != 1 or not described.total[specs[0].name][:, 0].all():
        return []
    means, _ = means_and_deviations(described.total[specs[0].name])
    rows = np.sort(means.reshape(-1, len(INNER)), axis=1).clip(_EDGE, 1 - _EDGE)
    apart = np.maximum.accumulate(rows + _EDGE * np.arange(len(INNER)) / 10, axis=1)
    return [[round(float(place), 4) for place in row] for row in apart.clip(_EDGE, 1 - _EDGE / 10)]


def figures_of(described: Described) -> list[Figure]:
    """Return how values of images lie at each site."""
    found = []
    for spec in described.of_kind("moments"):
        if not spec.name.endswith(" values"):
            continue
        points: list[Point] = [
            (site, at, float(own[0]))
            for site, part in _with_all(described).items()
            for at, own in zip(
                QUANTILES, zip(*means_and_deviations(part[spec.name]), strict=True), strict=True
            )
            if part[spec.name][0, 0]
        ]
        if points:
            image = spec.name.removesuffix(" values")
            title = f"Values of {image}: mean percentile over patients"
            found.append(Figure(f"values-{image}", title, ("site", "percentile", "value"), points))
    return [*found, *_brightness(described)]


def _brightness(described: Described) -> Iterator[Figure]:
    for spec in described.of_kind("histogram"):
        edges = np.linspace(spec.low, spec.high, spec.shape[0] + 1)
        points: list[Point] = [
            (site, float(edge), float(share))
            for site, part in _with_all(described).items()
            if part[spec.name].any()
            for edge, share in zip(edges, part[spec.name] / part[spec.name].sum(), strict=False)
        ]
        if points:
            title = f"Share of patients by {spec.of[0]}"
            name = spec.name.replace(" ", "-")
            yield Figure(name, title, ("site", "value", "share of patients"), points, "steps")


def _with_all(described: Described) -> dict[str, Statistics]:
    return {**described.parts, ALL: described.total}


def in_words(described: Described) -> str:
    """Return what somebody should know before everything else."""
    if not described.parts:
        return f"Sums over {many(len(described.summed), 'site')}; the figures of single sites are not shown."
    certain = [one for one in described.differences if one.p is not None and one.p < _CERTAIN]
    if not certain:
        return "No difference between the sites is more than chance may make."
    names = ", ".join(dict.fromkeys(one.what for one in certain[:3]))
    return f"The sites differ in {many(len(certain), 'figure')} by more than chance: {names}."


def description_section(job: JobSpec, about: Mapping[str, Any]) -> Section:
    """Return what was found, as a section of a report."""
    described = Described(job, about)
    if not described.summed:
        return Section("described", "The data", ("Nothing is known yet.",))
    landmarks = landmarks_of(described)
    says = [in_words(described), *([f"[data] landmarks = {landmarks}"] if landmarks else [])]
    return Section(
        "described",
        "The data",
        says,
        tables=tables_of(described),
        figures=figures_of(described),
    )


def as_json(job: JobSpec, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found as JSON can hold it."""
    described = Described(job, about)
    return {
        "statistics": {spec.name: {"kind": spec.kind, "of": list(spec.of)} for spec in described.specs},
        **(about.get("described") or {}),
        "landmarks": landmarks_of(described),
        "patients": {site: described.patients(site) for site in described.summed},
        "differences": [
            {**vars(one), "effect": one.effect if np.isfinite(one.effect) else None}
            for one in described.differences
        ],
    }
