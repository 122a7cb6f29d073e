"""Over which sites figures of a group of patients were summed: of two sums no difference tells few sites.

Whatever the models are, two sums over the same patients differ by the sites that are in one of them alone:
the images of each class are the same under every model, and two models that compute the same have the same
states. A model all of whose numbers are others can compute the same, so models are not compared. Statistics
before the first round know no model at all: whatever job asks, a site's part is the same.
"""

import json
import sqlite3
from collections.abc import Collection

from client.guard.database import Book
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.limits import LEAST_SITES

_SCHEMA = """
CREATE TABLE IF NOT EXISTS summed_sites (
    patients TEXT NOT NULL,
    sites TEXT NOT NULL,
    PRIMARY KEY (patients, sites)
);
CREATE TABLE IF NOT EXISTS refused_sites (
    job TEXT NOT NULL,
    patients TEXT NOT NULL,
    sites TEXT NOT NULL,
    allowed INTEGER NOT NULL,
    PRIMARY KEY (job, patients, sites)
);
"""


class EvaluatedSets(Book):
    """A site's memory of them, in an SQLite file that others may use too.

    Args:
        path: The file; made if missing.
    """

    what, schema = "the book of sums", _SCHEMA

    def take(self, patients: str, sites: Collection[str], job: str) -> None:
        """Remember a sum of metrics or statistics, before anything leaves that unmasks it.

        Args:
            patients: Names this site's patients behind it, all of them together.
            sites: Those that have patients in the sum.
            job: Digest of the job.

        Raises:
            SecureAggregationError: Fewer than three sites are in this sum or in an earlier one alone, and no
                person has allowed it.
        """
        with self._change() as db:
            others = _too_near(db, patients, sites)
            if not others or _is_allowed(db, job, patients, sites):
                db.execute("INSERT OR IGNORE INTO summed_sites VALUES (?, ?)", (patients, _text(sites)))
                return
            db.execute(
                "INSERT OR IGNORE INTO refused_sites VALUES (?, ?, ?, 0)", (job, patients, _text(sites))
            )
        raise SecureAggregationError(
            f"figures of these patients were summed before over other sites; the difference would be that of "
            f"{', '.join(sorted(others))}",
            remedy=f"If these hospitals agree, allow it at each hospital: wardround client approve {job}",
        )

    def allow(self, job: str) -> None:
        """Let what was refused to a job be summed: a person has approved it once more."""
        with self._change() as db:
            db.execute("UPDATE refused_sites SET allowed = 1 WHERE job = ?", (job,))


def _too_near(db: sqlite3.Connection, patients: str, sites: Collection[str]) -> set[str]:
    """Return the sites that the difference to an earlier sum would be about, where they are too few."""
    for row in db.execute("SELECT sites FROM summed_sites WHERE patients = ?", (patients,)):
        others = set(json.loads(row["sites"])) ^ set(sites)
        if 0 < len(others) < LEAST_SITES:
            return others
    return set()


def _is_allowed(db: sqlite3.Connection, job: str, patients: str, sites: Collection[str]) -> bool:
    query = "SELECT allowed FROM refused_sites WHERE (job, patients, sites) = (?, ?, ?)"
    row = db.execute(query, (job, patients, _text(sites))).fetchone()
    return row is not None and bool(row["allowed"])


def _text(sites: Collection[str]) -> str:
    return json.dumps(sorted(sites))
