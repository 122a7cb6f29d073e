"""Which patients train, which choose the best round, and which judge the result.

The side of a patient is drawn by a keyed hash of the patient's id. The key is a secret of the site, so
nobody else can say on which side of a split, or in which fold, a patient would be. Shares and folds are the
site's, too, and stay as they were first used: a job chooses among the folds, never where the cut is.

A patient's side depends on nothing else: adding patients moves nobody, and a test patient of one job is one
of every job.
"""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from client.data.manifest.rows import Record
from shared.errors import JobError
from shared.seeds import seed_of
from shared.table import Table, later_key

KEY_BYTES = 32


class SplitTable(Table):
    """`[datasets.NAME.split]`: how the patients of a dataset are divided; fixed at its first use."""

    test: float = Field(
        0.2,
        ge=0.0,
        le=0.5,
        description="Share of the patients who test; unused where the manifest says it.",
    )
    validation: float = Field(
        0.15,
        ge=0.0,
        le=0.5,
        description="Share of the others who choose the best round; unused where the manifest's split has "
        "'val'.",
    )
    folds: int = Field(
        5,
        ge=2,
        le=20,
        description="Folds of the patients who do not test, for jobs that name one ([data] fold).",
    )
    labelled: float = later_key(
        1.0,
        gt=0.0,
        le=1.0,
        description="Share of the training patients whose labels and masks are used, at least of one, to try "
        "what fewer would do; for jobs with [task.unlabelled].",
    )


@dataclass(frozen=True)
class CohortKey:
    """The secret by which a site hashes its patients' ids."""

    secret: bytes = field(repr=False)

    @classmethod
    def drawn(cls, seed: int) -> "CohortKey":
        """Return the key of a simulation: known to whoever knows the job, and the same for all its sites."""
        return cls(hashlib.sha256(f"wardround simulated cohort key\x1f{seed}".encode()).digest())

    def hash(self, purpose: str, text: str) -> bytes:
        """Return the HMAC-SHA256 (32 bytes) of a text for a purpose."""
        return hmac.digest(self.secret, f"wardround {purpose}\x1f{text}".encode(), "sha256")

    def position(self, patient: str, purpose: str) -> float:
        """Return a patient's number in [0, 1), another one for each purpose."""
        return int.from_bytes(self.hash(purpose, patient)[:6], "big") / 2**48

    def seed(self, *parts: str | int) -> int:
        """Return a 63-bit seed that nobody without the key can tell."""
        return seed_of(self.hash("seed", str(seed_of(*parts))).hex())


@dataclass(frozen=True)
class Split:
    """How a site divides the patients of one dataset."""

    key: CohortKey
    shares: SplitTable = field(default_factory=SplitTable)
    used: float = 1.0  # share of the patients of each other side than the test's: a rehearsal tries fewer

    def sides(self, records: Sequence[Record], fold: int | None = None, draw: int = 1) -> list[str]:
        """Return 'train', 'val' or 'test' for each record.

        The column `split` decides where the manifest has one. Where no record is in 'val', that side is cut
        out of the training patients. With a fold, 'val' is that fold of all patients who do not test.

        Args:
            records: All records of a manifest, also those of other sites.
            fold: From 1; None takes the split's own validation patients.
            draw: In which of several ways the folds are drawn, from 1.

        Raises:
            JobError: The site has fewer folds.
        """
        sides = [record.split or self._drawn(record, "test", self.shares.test) for record in records]
        if fold is not None:
            return self._folded(records, sides, fold, draw)
        if "val" in sides:
            return sides
        return [
            self._drawn(record, "val", self.shares.validation) if side == "train" else side
            for record, side in zip(records, sides, strict=True)
        ]

    def in_use(self, pairs: Sequence[tuple[Record, str]]) -> list[tuple[Record, str]]:
        """Return the rows of a site that are used, each with its side; all who test are.

        Those of a share are among those of a larger one; of a share above 0 there is one on each side.
        """
        if self.used == 1:
            return list(pairs)
        kept = {"test": {record.patient for record, side in pairs if side == "test"}}
        for side in ("train", "val"):
            own = sorted(
                {record.patient for record, where in pairs if where == side},
                key=lambda patient: self.key.hash("used", patient),
            )
            kept[side] = set(own[: max(1, round(self.used * len(own))) if self.used else 0])
        return [(record, side) for record, side in pairs if record.patient in kept[side]]

    def labelled(self, patients: Collection[str]) -> frozenset[str]:
        """Return the training patients whose labels are used: those of a share are among those of a larger.

        Args:
            patients: With a label, who train at the site.
        """
        number = max(1, round(self.shares.labelled * len(patients)))
        order = sorted(patients, key=lambda patient: self.key.hash("labelled", patient))
        return frozenset(order[:number])

    def _folded(self, records: Sequence[Record], sides: Sequence[str], fold: int, draw: int) -> list[str]:
        folds = self.shares.folds
        if fold > folds:
            raise JobError(
                f"is {fold}, and this site has {folds} folds",
                where="[data] fold",
                remedy=f"Choose a fold from 1 to {folds}.",
            )
        purpose = "fold" if draw == 1 else f"fold {draw}"
        own = [1 + int(self.key.position(record.patient, purpose) * folds) for record in records]
        return [
            side if side == "test" else "val" if number == fold else "train"
            for side, number in zip(sides, own, strict=True)
        ]

    def _drawn(self, record: Record, side: str, share: float) -> str:
        return side if self.key.position(record.patient, side) < share else "train"
