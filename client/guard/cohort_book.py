"""What a site remembers of its patients' split and of the groups that figures were told about.

A figure of a group alone says little. Two figures, of groups that differ by one patient, tell that patient's
part. So the groups behind everything that left are kept, as keyed hashes, and the next one is compared with
them: with those of every dataset that has ever had the same manifest, as a name changes no patient.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.data.manifest.splits import SplitTable
from client.guard.database import Book
from shared.clock import utc_text

BOOK = "cohort.sqlite"
HASH_BYTES = 16  # of each patient's keyed hash
Group = frozenset[bytes]
_NONE = 1e-9  # of the largest: what rounding leaves of nothing
_ROUNDED = 1e-6  # of a vector of length 1, after some hundred steps
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fixed (
    dataset TEXT PRIMARY KEY,
    shares TEXT NOT NULL,
    key_check TEXT NOT NULL,
    since TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS manifest (
    dataset TEXT NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (dataset, path)
);
CREATE TABLE IF NOT EXISTS told (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset TEXT NOT NULL,
    side TEXT NOT NULL,
    digest TEXT NOT NULL,
    members BLOB NOT NULL,
    since TEXT NOT NULL,
    UNIQUE (dataset, side, digest)
);
"""
_SAME_PATIENTS = (
    "(dataset = :dataset OR dataset IN (SELECT dataset FROM manifest"
    " WHERE path IN (SELECT path FROM manifest WHERE dataset = :dataset)))"
)


@dataclass(frozen=True)
class Fixed:
    """How a dataset was first split.

    Attributes:
        key_check: Tells whether a key is the one that split it.
        since: UTC, ISO 8601.
    """

    shares: SplitTable
    key_check: str
    since: str


@dataclass(frozen=True)
class Told:
    """A group that a figure was told about.

    Attributes:
        dataset: Under whose name.
        side: Such as ``train``, or ``val/2`` where the job took the second fold.
        members: The keyed hashes of its patients.
    """

    dataset: str
    side: str
    members: Group


class CohortBook(Book):
    """One SQLite file, which service and commands may use at once.

    Args:
        path: The file; made if missing.
    """

    what, schema = "the book of cohorts", _SCHEMA

    def fixed(self, dataset: str) -> Fixed | None:
        """Return how a dataset was first split; None where it was not used yet."""
        with self._change() as db:
            row = db.execute("SELECT * FROM fixed WHERE dataset = ?", (dataset,)).fetchone()
        if row is None:
            return None
        return Fixed(SplitTable.model_validate_json(row["shares"]), row["key_check"], row["since"])

    def fix(self, dataset: str, shares: SplitTable, key_check: str, manifest: str) -> None:
        """Remember how a dataset is split, unless that is known already, and what manifest it has."""
        with self._change() as db:
            db.execute("INSERT OR IGNORE INTO manifest VALUES (?, ?)", (dataset, manifest))
            db.execute(
                "INSERT INTO fixed VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (dataset, shares.model_dump_json(), key_check, utc_text()),
            )

    def told(self, dataset: str) -> list[Told]:
        """Return the groups that figures were told about, the oldest first.

        Those of other datasets with the same manifest are among them.
        """
        with self._change() as db:
            return list(_told(db, dataset))

    def tell(self, dataset: str, side: str, members: Group, least: int) -> bool:
        """Remember a group, unless it is too near to one that was told; say whether it is remembered."""
        with self._change() as db:
            digest = hashlib.sha256(packed(members)).hexdigest()
            known = db.execute(
                "SELECT 1 FROM told WHERE dataset = ? AND side = ? AND digest = ?", (dataset, side, digest)
            ).fetchone()
            if known is not None:
                return True
            if is_near(members, [group.members for group in _told(db, dataset)], least):
                return False
            db.execute(
                "INSERT INTO told (dataset, side, digest, members, since) VALUES (?, ?, ?, ?, ?)",
                (dataset, side, digest, packed(members), utc_text()),
            )
        return True

    def accept(self, dataset: str) -> int:
        """Forget the groups that `told` returns, as a person has decided; return how many there were."""
        with self._change() as db:
            query = f"DELETE FROM told WHERE {_SAME_PATIENTS}"  # noqa: S608 (a constant)
            return db.execute(query, {"dataset": dataset}).rowcount


def is_near(members: Group, others: list[Group], least: int) -> bool:
    """Say whether a group and others together tell of some patients, but fewer than `least`.

    It differs from another one by so few, or sums and differences of all give the figure of those few alone.
    """
    if members in others:
        return False
    return any(len(members ^ other) < least for other in others) or _tell_of_few([*others, members], least)


def _tell_of_few(groups: list[Group], least: int) -> bool:
    """Say whether a sum of multiples of the groups' figures is that of fewer than `least` patients.

    They are looked for among those who are in the same groups. Their figure is such a sum where their unit
    vector lies in the space that the groups span, as vectors over these sets of patients: its projection has
    length 1. Of several sets together, each of which is few, a figure may be told though none of them has
    one of its own, as where a column of makers and one of scanners disagree about some patients of two
    scanners: `_sparse` finds such sums, among them all of which there is but one way.
    """
    cells = Counter(tuple(patient in group for group in groups) for patient in frozenset().union(*groups))
    patients = np.array(list(cells.values()))
    few = patients < least
    directions, sizes, _ = np.linalg.svd(np.array(list(cells), np.float64), full_matrices=False)
    spanned = directions[:, sizes > _NONE * sizes.max(initial=0)]
    if (few & ((spanned**2).sum(axis=1) > 1 - _NONE)).any():
        return True
    _, large, ways = np.linalg.svd(spanned[~few], full_matrices=True)
    beside = spanned[few] @ ways[int((large > _ROUNDED).sum()) :].T  # what has nothing of a large set
    return any(patients[few][told].sum() < least for told in _sparse(beside.T, patients[few]))


def _sparse(ways: NDArray[np.float64], patients: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Yield which sets are told of in sums of multiples of some sums, each of as few sets as it can be.

    These are the rows of the reduced echelon form, for two orders of the sets.

    Args:
        ways: Sums (D, S), independent.
        patients: How many are in each set (S,).
    """
    largest_first = np.argsort(-patients, kind="stable")
    for order in (largest_first, largest_first[::-1]):
        reduced, row = ways.copy(), 0
        for column in order:
            if row == len(reduced):
                break
            best = row + int(np.abs(reduced[row:, column]).argmax())
            if abs(reduced[best, column]) < _ROUNDED:
                continue
            reduced[[row, best]] = reduced[[best, row]]
            reduced[row] /= reduced[row, column]
            others = np.arange(len(reduced)) != row
            reduced[others] -= np.outer(reduced[others, column], reduced[row])
            row += 1
        yield from np.abs(reduced) > _ROUNDED


def _told(db: sqlite3.Connection, dataset: str) -> Iterator[Told]:
    columns = "dataset, side, members"
    query = f"SELECT {columns} FROM told WHERE {_SAME_PATIENTS} ORDER BY number"  # noqa: S608 (a constant)
    for row in db.execute(query, {"dataset": dataset}):
        yield Told(row["dataset"], row["side"], unpacked(row["members"]))


def packed(members: Group) -> bytes:
    """Return a group as it is kept."""
    return b"".join(sorted(members))


def unpacked(content: bytes) -> Group:
    """Return the group that is kept as this."""
    return frozenset(content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES))
