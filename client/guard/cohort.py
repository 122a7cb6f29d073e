"""The patients of a site as jobs see them: a fixed, keyed split, and no group too near to an earlier one."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Self

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.guard.cohort_book import BOOK, HASH_BYTES, CohortBook, Group, Told, is_near
from client.settings.cohort_key import make_key, read_key
from client.settings.policy import PolicyError
from shared.errors import SiteError

_log = logging.getLogger(__name__)


class Cohort:
    """Divides the patients of a site's datasets, and remembers the groups that it told figures about.

    Args:
        key: Hashes the patients' ids.
        book: Remembers; None remembers nothing, as in a simulation without the hospitals' files.
        records: Whether the book is written. A rehearsal reads it: what it finds is what a job would find.
        used: Share of the patients who don't test that a rehearsal uses.
    """

    def __init__(
        self, key: CohortKey, book: CohortBook | None = None, *, records: bool = True, used: float = 1.0
    ) -> None:
        self.key = key
        self._book = book
        self._records = records
        self._used = used

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the cohort of a site's folder; a missing key is made.

        Raises:
            WardroundError: The key or the book can't be used.
        """
        return cls(make_key(folder / "keys"), CohortBook(folder / BOOK))

    @classmethod
    def rehearsed(cls, folder: Path) -> Self | None:
        """Look at the cohort of a site's folder without changing it; None where it has no key yet.

        Raises:
            WardroundError: The key or the book can't be used.
        """
        key = read_key(folder / "keys")
        if key is None:
            return None
        book = CohortBook(folder / BOOK) if (folder / BOOK).exists() else None
        return cls(key, book, records=False)

    def using(self, share: float) -> Self:
        """Return the cohort of a rehearsal that uses a share of the patients who don't test."""
        return type(self)(self.key, self._book, records=False, used=share)

    def split(self, dataset: str, shares: SplitTable, manifest: str) -> Split:
        """Return how a dataset is split, which is fixed by this if it was not yet.

        Args:
            dataset: Its name.
            shares: As `site.toml` has them.
            manifest: Where its patients stand: what was told of them counts under every name.

        Raises:
            SiteError: `site.toml` or the key has changed since.
        """
        if self._book is None:
            return Split(self.key, shares, self._used)
        check = self.key.hash("key check", dataset).hex()
        if self._records:
            self._book.fix(dataset, shares, check, manifest)
        fixed = self._book.fixed(dataset)
        if fixed is not None:
            self._check(dataset, shares, fixed.shares, is_same_key=fixed.key_check == check)
        return Split(self.key, shares, self._used)

    def _check(self, dataset: str, shares: SplitTable, fixed: SplitTable, *, is_same_key: bool) -> None:
        where = f"[datasets.{dataset}.split]"
        new_name = "or give the dataset another name: it then has a split of its own."
        if not is_same_key:
            raise SiteError(
                "the key keys/cohort.key is not the one with which this dataset was first split",
                where=where,
                remedy=f"Put the key of the site's backup back, {new_name}",
            )
        if shares != fixed:
            first = ", ".join(f"{name} = {value:g}" for name, value in fixed.model_dump().items())
            raise SiteError(
                "the split of a dataset stays as it was at its first use, since two splits together tell who "
                "is in one of them alone",
                where=where,
                remedy=f"Put it back ({first}), {new_name}",
            )

    def admitted(self, dataset: str, side: str, patients: AbstractSet[str], least: int) -> frozenset[str]:
        """Return the patients of one side who take part now.

        Patients who were added since the side's last figure wait until they are `least` together.

        Args:
            dataset: Its name.
            side: As in `Told`.
            patients: Those whom the manifest has now.
            least: The policy's `min_group`.
        """
        told = [] if self._book is None else self._book.told(dataset)
        group = self._group(patients)
        of_side = [entry for entry in told if entry.side == side]
        before = [entry.members for entry in of_side if entry.dataset == dataset]
        before = before or [entry.members for entry in of_side]  # under another name
        if not before or not before[-1] <= group or not _clashes(group, told, least):
            return frozenset(patients)
        held = len(group) - len(before[-1])
        _log.info("%s: %d new patients of '%s' wait until there are %d", dataset, held, side, least)
        return frozenset(patient for patient in patients if self._hash(patient) in before[-1])

    def tell(self, dataset: str, side: str, patients: AbstractSet[str], least: int, site: str) -> None:
        """Remember that figures about a group leave.

        Args:
            dataset: Its name.
            side: As in `Told`.
            patients: The group.
            least: The policy's `min_group`.
            site: Name of the site, for the error.

        Raises:
            PolicyError: An earlier figure was about a group that differs by fewer than `least` patients.
        """
        if self._book is None:
            return
        group = self._group(patients)
        if self._records:
            is_fine = self._book.tell(dataset, side, group, least)
        else:
            is_fine = not _clashes(group, self._book.told(dataset), least)
        if not is_fine:
            raise PolicyError(
                f"policy.min_group: the patients behind this answer differ from those behind an earlier one "
                f"by fewer than {least}, and the two together would tell of these alone",
                where=site,
                remedy=f"At the hospital, if that may be told: wardround client cohort accept {dataset}",
            )

    def tell_beside(
        self,
        dataset: str,
        side: str,
        patients: AbstractSet[str],
        least: int,
        beside: Sequence[AbstractSet[str]],
    ) -> bool:
        """Remember that figures about a further group leave, if they may; say whether they do.

        Args:
            dataset: Its name.
            side: As in `Told`.
            patients: The group.
            least: The policy's `min_group`.
            beside: Groups that are told with it.
        """
        if len(patients) < least:
            return False
        group = self._group(patients)
        if self._book is not None and self._records:
            return self._book.tell(dataset, side, group, least)
        told = [] if self._book is None else [entry.members for entry in self._book.told(dataset)]
        return not is_near(group, [*told, *map(self._group, beside)], least)

    def may_tell(self, dataset: str, side: str, patients: AbstractSet[str], least: int) -> bool:
        """Say whether `tell` would let figures about a group leave; nothing is remembered."""
        told = [] if self._book is None else self._book.told(dataset)
        return len(patients) < least or not _clashes(self._group(patients), told, least)

    def since(self, dataset: str) -> str:
        """Return when the split of a dataset was fixed (UTC); empty where it was not used yet."""
        fixed = None if self._book is None else self._book.fixed(dataset)
        return "" if fixed is None else fixed.since

    def _group(self, patients: AbstractSet[str]) -> Group:
        return frozenset(map(self._hash, patients))

    def _hash(self, patient: str) -> bytes:
        return self.key.hash("cohort", patient)[:HASH_BYTES]


def side_of(side: str, fold: int | None, draw: int = 1) -> str:
    """Return the name of a group: its side, and for train and val the job's fold, and how folds are drawn."""
    if fold is None or side == "test":
        return side
    return f"{side}/{fold}" if draw == 1 else f"{side}/{draw}.{fold}"


def _clashes(group: Group, told: list[Told], least: int) -> bool:
    return is_near(group, [entry.members for entry in told], least)
