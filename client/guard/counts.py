"""Counts of a dataset's patients that a hospital tells before there is a job.

All that is ever told of a group of patients is one set of tables, of the columns and bands that the hospital
listed: for each choice of them, how many patients are in each cell, with noise, rounded, and none where they
may be few. Questions are answered from these tables elsewhere, so they tell nothing more, however many there
are and however little they differ. `min_group` patients move all tables together by one standard deviation of
their noise: each patient is in one cell of each, and the noise grows with the root of their number. What is
told follows from what has noise alone: not even that a cell was left out is an exact figure.

Tables of another group are told only where it differs by enough patients from all groups of which counts were
told, and a group's own tables are remembered: made again of records that have changed a little, they would
have noise of their own. The groups behind figures of jobs are another list (`client.guard.cohort`): the noise
here hides `min_group` patients from whoever has those, too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.manifest.splits import CohortKey
from client.guard.bounds import Noise
from client.guard.cohort_book import HASH_BYTES, Group, is_near, packed, unpacked
from client.guard.database import Book
from client.settings.counts_rules import CountsRules
from client.settings.policy import PolicyError, PolicyTable, rounded
from client.settings.site import SiteConfig
from shared.clock import utc_text
from shared.wire.counts import ToldCounts, ToldTable, choices

BOOK = "counts.sqlite"
_SURE = 2.0  # standard deviations by which a cell must lie above `min_group` to be told
_SCHEMA = """
CREATE TABLE IF NOT EXISTS told (
    members BLOB PRIMARY KEY,
    rules TEXT NOT NULL,
    counts TEXT NOT NULL
);
"""
Patients = Mapping[str, Mapping[str, set[str]]]
"""What the rows of each patient have in each column."""


class CountsBook(Book):
    """The tables that were told, by the group of patients that they are about.

    Args:
        path: The file; made if missing.
    """

    what, schema = "the book of counts", _SCHEMA

    def told(self, members: Group) -> tuple[str, ToldCounts] | None:
        """Return what was told of a group, and by which rules; None where nothing was."""
        with self._change() as db:
            row = db.execute("SELECT * FROM told WHERE members = ?", (packed(members),)).fetchone()
        return None if row is None else (row["rules"], ToldCounts.model_validate_json(row["counts"]))

    def keep(self, members: Group, rules: str, counts: ToldCounts) -> bool:
        """Remember what is about to be told, unless the group is too near to others; say whether it is."""
        with self._change() as db:
            others = [unpacked(row["members"]) for row in db.execute("SELECT members FROM told")]
            if members not in others and is_near(members, others, counts.least):
                return False
            db.execute(
                "INSERT OR IGNORE INTO told VALUES (?, ?, ?)",
                (packed(members), rules, counts.model_dump_json()),
            )
        return True


@dataclass(frozen=True)
class Counts:
    """Tells counts of one dataset.

    Attributes:
        site: As `site.toml` has it.
        dataset: Its name there.
        key: Of the site, by which its patients are hashed and noise is drawn.
        folder: The site's.
    """

    site: SiteConfig
    dataset: str
    key: CohortKey
    folder: Path

    def tell(self, patients: Patients) -> ToldCounts:
        """Return the tables that may leave, which are remembered when this returns.

        Raises:
            PolicyError: The policy does not let counts of the dataset leave, or not of this group.
            WardroundError: A book can't be used.
        """
        rules = self.rules()
        self._require_enough(len(patients))
        members = frozenset(self.key.hash("cohort", name)[:HASH_BYTES] for name in patients)
        book, asked = CountsBook(self.folder / BOOK), rules.model_dump_json(exclude={"projects"})
        if (known := book.told(members)) is None:
            counts = self._counts(rules, tables_of(rules, patients, self.site.policy, self.key.seed))
            if not book.keep(members, asked, counts):
                raise self._too_near()
            known = book.told(members)
            assert known is not None  # noqa: S101 (it has just been kept)
        before, counts = known
        if before != asked:
            raise PolicyError(
                "policy.counts: of the same patients other counts were told, and both together would tell "
                "of few",
                where=self.site.name,
                remedy=f"Put [policy.counts.{self.dataset}] back, or wait for "
                f"{self.site.policy.min_group} more patients.",
            )
        return counts.model_copy(update={"dataset": self.dataset, "projects": self._projects(rules)})

    def rules(self) -> CountsRules:
        """Return what may be told.

        Raises:
            PolicyError: Nothing.
        """
        policy, table = self.site.policy, f"[policy.counts.{self.dataset}]"
        self.site.dataset(self.dataset)
        if self.dataset not in policy.counts:
            raise PolicyError(
                f"policy.counts: no counts of '{self.dataset}' leave",
                where=self.site.name,
                remedy=f"{table} in site.toml lists what may be told.",
            )
        if self.dataset in policy.privacy and not policy.share_private_counts:
            raise PolicyError(
                f"policy.share_private_counts: '{self.dataset}' has a cap in [policy.privacy], which does "
                "not cover counts",
                where=self.site.name,
                remedy="share_private_counts = true lets them leave.",
            )
        return policy.counts[self.dataset]

    def _require_enough(self, patients: int) -> None:
        least = self.site.policy.min_group
        if patients < least:
            raise PolicyError(
                f"policy.min_group: '{self.dataset}' has fewer than {least} patients", where=self.site.name
            )

    def _too_near(self) -> PolicyError:
        least = self.site.policy.min_group
        return PolicyError(
            f"policy.min_group: the patients of '{self.dataset}' differ by fewer than {least} from those of "
            "whom counts were told, and both together would tell of these alone",
            where=self.site.name,
            remedy=f"What was told stays; tell more when {least} patients are new.",
        )

    def _counts(self, rules: CountsRules, tables: list[ToldTable]) -> ToldCounts:
        policy = self.site.policy
        return ToldCounts(
            dataset=self.dataset,
            told=utc_text(),
            least=policy.min_group,
            step=policy.round_counts_to,
            deviation=round(deviation_of(rules, policy), 3),
            columns=rules.values,
            tables=tuple(tables),
        )

    @staticmethod
    def _projects(rules: CountsRules) -> tuple[str, ...] | None:
        return None if rules.projects is None else tuple(rules.projects)


def deviation_of(rules: CountsRules, policy: PolicyTable) -> float:
    """Return the standard deviation of the noise of a cell."""
    return policy.min_group * float(len(choices(tuple(rules.values))) ** 0.5)


def tables_of(rules: CountsRules, patients: Patients, policy: PolicyTable, noise: Noise) -> list[ToldTable]:
    """Return the tables as they are told.

    Args:
        rules: Which columns and values.
        patients: Who is counted.
        policy: How small a group may be, and to what is rounded.
        noise: Gives the seed of the noise, of all that is counted.
    """
    columns = tuple(rules.values)
    places = sorted(
        (patient, tuple(rules.place(name, found.get(name, set())) for name in columns))
        for patient, found in patients.items()
    )
    cube = np.zeros([len(values) for values in rules.values.values()], np.int64)
    for _, place in places:
        cube[place] += 1
    draw = np.random.default_rng(noise(hashlib.sha256(f"{rules.values} {places}".encode()).hexdigest()))
    deviation = deviation_of(rules, policy)
    tables = []
    for choice in choices(columns):
        others = tuple(axis for axis, name in enumerate(columns) if name not in choice)
        exact = cube.sum(axis=others).ravel()
        noisy = exact + deviation * draw.standard_normal(len(exact))
        tables.append(ToldTable(columns=choice, cells=tuple(_told(noisy, deviation, policy))))
    return tables


def _told(noisy: NDArray[np.float64], deviation: float, policy: PolicyTable) -> list[int]:
    fewest = policy.min_group + _SURE * deviation
    return [
        rounded(round(about), policy.round_counts_to) if about >= fewest else 0 for about in noisy.tolist()
    ]
