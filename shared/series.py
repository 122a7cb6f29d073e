"""A series: runs of one job that belong together, such as those of several seeds.

Its folder holds `series.json`, the hospitals of all runs (`simulation.json`), a folder for each run, and at
the end `report.html`.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from shared.errors import RunError
from shared.job.schema import JobSpec, override, parse_job
from shared.series_folder import FILE
from shared.table import Name, Table

Kind = Literal["seeds", "leave-one-site-out", "sites", "patients", "folds"]


class Variant(Table):
    """What one line of a series asks; its runs differ in the seed alone.

    Attributes:
        name: Of the line.
        held_out: Sites that only test.
        used: Share of the other sites' patients who train and validate.
        order: Of a learning curve over sites: in which of several orders they come.
    """

    name: Name
    held_out: list[str] = Field([])
    used: float = 1.0
    order: int = 1


class Member(Table):
    """One run of a series.

    Attributes:
        name: Of its folder.
        variant: Name of its variant.
        seed: Of its job.
        fold: Of each site's patients that validates it; None takes their own validation patients.
        draw: How the folds are drawn.
    """

    name: Name
    variant: Name
    seed: int
    fold: int | None = None
    draw: int = 1


class Series(Table):
    """What a series consists of.

    Attributes:
        kind: What differs between its variants; of 'seeds' there is one.
        job: All keys of the job.
        starts: Folder of the weights that it starts from.
        sites: All hospitals.
    """

    kind: Kind
    job: dict[str, Any]
    starts: Path = Path()
    sites: list[str]
    variants: list[Variant] = Field(min_length=1)
    members: list[Member] = Field(min_length=1)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the series in a folder.

        Raises:
            RunError: There is none, or it can't be read.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise RunError(f"is not the folder of a series ({error})", where=folder / FILE) from None

    @property
    def spec(self) -> JobSpec:
        """The job as it was given."""
        return parse_job(self.job, FILE)

    def variant(self, member: Member) -> Variant:
        """Return what a run of the series asks."""
        return next(one for one in self.variants if one.name == member.variant)

    def job_of(self, member: Member) -> JobSpec:
        """Return the job of a run: with its seed, and `min_sites` no larger than the sites that can train.

        Where a fold judges the run, nothing is chosen on it: the last round counts, or the mean of the last.
        """
        job, train = self.spec, len(self.sites) - len(self.variant(member).held_out)
        table = json.loads(job.canonical())
        changes: dict[str, Any] = {
            "job.seed": member.seed,
            "strategy.min_sites": min(job.strategy.min_sites, train),
        }
        if member.fold is not None:
            changes |= {"data.fold": member.fold, "data.fold_draw": member.draw}
            changes |= {f"evaluation.{key}": None for key in ("select_best", "patience", "decisions")}
        override(table, changes, None)
        return parse_job(table, FILE)


def runs_of(folder: Path) -> list[Path]:
    """Return the folders of a series' runs that have been begun, in their order."""
    paths = [folder / member.name for member in Series.read(folder).members]
    return [path for path in paths if (path / "job.json").is_file()]
