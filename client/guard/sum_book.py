"""What a site has let be summed: from the difference of two sums nobody may read a single site's part.

Training gives nearly the same update again of nearly the same model, whatever the job is called. Two sums of
it over other sites, or with other weights, would differ by the parts of the sites by which they differ. So
would two sums under settings of which only one site takes notice: a bound that only its update exceeds, a
batch that only it fills. The site remembers, by dataset, of which model it was in a sum, with whom, and under
which settings.
"""

import hashlib
import math
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from client.guard.database import Book
from client.guard.evaluated_sets import EvaluatedSets
from client.guard.model_sketch import KEY_BYTES, distance, sketch_of
from shared.clock import utc_text
from shared.job.schema import JobSpec
from shared.privacy.secagg.errors import SecureAggregationError

# Shares of the models' norm. Models of two seeds are about 1 apart. Those of two rounds of one job may be
# near, as its steps are small, and other sites may be there; equal they never are.
NEAR_IN_OTHER_JOBS = 0.05
NEAR_IN_ONE_JOB = 1e-6
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sketch_key (key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS summed (
    dataset TEXT NOT NULL,
    phase TEXT NOT NULL,
    sketch BLOB NOT NULL,
    parts BLOB NOT NULL,
    settings TEXT NOT NULL,
    job TEXT NOT NULL,
    round INTEGER NOT NULL,
    moment TEXT NOT NULL,
    PRIMARY KEY (dataset, phase, job, round, parts, sketch)
);
"""


@dataclass(frozen=True)
class Summed:
    """A sum that a site is in.

    Attributes:
        dataset: Manifest of the site's dataset behind its part: another name makes no other patients of it.
        phase: One of `shared.privacy.secagg.records.PHASES`.
        sketch: Of the model, as `SumBook.sketch` returned it.
        job: Digest of the job, in hexadecimal.
        settings: Digest of all of the job but its name.
    """

    dataset: str
    phase: str
    sketch: bytes
    job: str
    settings: str
    round: int

    @classmethod
    def of(cls, job: JobSpec, phase: str, round_: int, sketch: bytes, manifest: str) -> Self:
        """Return a sum of a job."""
        unnamed = job.model_copy(update={"job": job.job.model_copy(update={"name": "-"})})
        return cls(manifest, phase, sketch, job.digest(), unnamed.digest(), round_)


class SumBook(Book):
    """A site's book of sums, in an SQLite file that others may use too.

    Args:
        path: The file; made if missing.

    Attributes:
        sets: Over which sites metrics and statistics were summed.
    """

    what, schema = "the book of sums", _SCHEMA

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sets = EvaluatedSets(path)
        with self._change() as db:
            if db.execute("SELECT key FROM sketch_key").fetchone() is None:
                db.execute("INSERT INTO sketch_key VALUES (?)", (secrets.token_bytes(KEY_BYTES),))
            self._key = bytes(db.execute("SELECT key FROM sketch_key").fetchone()["key"])

    def sketch_key(self) -> bytes:
        """Return the key of the sketches."""
        return self._key

    def sketch(self, vector: NDArray[np.float32]) -> bytes:
        """Return what is remembered of a model, shape (n,)."""
        return sketch_of(vector, self._key).tobytes()

    def take(self, summed: Summed, weights: Mapping[str, int]) -> None:
        """Remember a sum, before anything leaves that unmasks it.

        Args:
            summed: What was summed.
            weights: How much each site in the sum counts; their proportions matter.

        Raises:
            SecureAggregationError: The difference to an earlier sum could tell a single site's part.
            SiteError: The book can't be used.
        """
        parts = _digest(weights)
        with self._change() as db:
            earlier = db.execute(
                "SELECT * FROM summed WHERE dataset = ? AND phase = ? AND NOT (parts = ? AND settings = ?)",
                (summed.dataset, summed.phase, parts, summed.settings),
            )
            for row in earlier:
                _compare(row, summed)
            db.execute(
                "INSERT OR IGNORE INTO summed VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    summed.dataset,
                    summed.phase,
                    summed.sketch,
                    parts,
                    summed.settings,
                    summed.job,
                    summed.round,
                    utc_text(),
                ),
            )


def _digest(weights: Mapping[str, int]) -> bytes:
    common = math.gcd(*weights.values()) or 1
    parts = " ".join(f"{site}={weight // common}" for site, weight in sorted(weights.items()))
    return hashlib.sha256(parts.encode()).digest()


def _compare(row: sqlite3.Row, summed: Summed) -> None:
    """Raise SecureAggregationError where the difference to an earlier sum of other parts would tell."""
    if (row["job"], row["round"]) == (summed.job, summed.round):
        raise _refusal("this round was summed before over other sites, or with other weights")
    near = NEAR_IN_ONE_JOB if row["job"] == summed.job else NEAR_IN_OTHER_JOBS
    before, now = (np.frombuffer(sketch, np.float64) for sketch in (row["sketch"], summed.sketch))
    if before.shape != now.shape or distance(before, now) <= near:
        raise _refusal(
            "nearly the same model was summed before over other sites, with other weights or other settings, "
            f"in round {row['round']} of the job {row['job'][:12]}"
        )


def _refusal(what: str) -> SecureAggregationError:
    return SecureAggregationError(
        f"{what}; the difference would show single updates",
        remedy="Give the job another [job] seed: it then begins with another model.",
    )
