"""Over which sites figures of a site's patients were summed: over the same ones, or a person has allowed it.

Whatever the models are, two sums over the same patients differ by the sites that are in one of them alone:
the images of each class are the same under every model, and two models that compute the same have the same
states. A model all of whose numbers are others can compute the same, so models are not compared. Statistics
before the first round know no model at all: whatever job asks, a site's part is the same.

A difference over many sites is no less: seven sums over three sites each, any two of which share one site
(the lines of the Fano plane), are seven equations for the figures of seven sites. No site is in more than
three of them, and from those it sees nothing. As a site can't know of sums that it was in no part of, it
takes part in sums over one set of sites. If all honest sites do, any two of their sums are over the same
sites or have none in common, and no sum or difference of them is over fewer sites than a sum is.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence

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

    def take(self, patients: str, sites: Sequence[str], job: str, *, group: str = "") -> None:
        """Remember a sum of metrics or statistics, before anything leaves that unmasks it.

        Args:
            patients: Names this site's patients behind it, whichever of them are there now.
            sites: Those that have patients in the sum.
            job: Digest of the job.
            group: Names those who are there now: version 0.1 remembered sums under it.

        Raises:
            SecureAggregationError: Other sites were in an earlier sum, and no person has allowed it.
        """
        with self._change() as db:
            earlier = _summed(db, patients, group)
            if not earlier or set(sites) in earlier or _is_allowed(db, job, patients, sites):
                db.execute("INSERT OR IGNORE INTO summed_sites VALUES (?, ?)", (patients, _text(sites)))
                return
            # One yes is for one set: a coordinator may have tried many.
            tried = "DELETE FROM refused_sites WHERE (job, patients, allowed) = (?, ?, 0)"
            db.execute(tried, (job, patients))
            db.execute(
                "INSERT OR IGNORE INTO refused_sites VALUES (?, ?, ?, 0)", (job, patients, _text(sites))
            )
        nearest = min((other ^ set(sites) for other in earlier), key=len)
        told, names = "the difference would be that of", ", ".join(sorted(nearest))
        if len(nearest) >= LEAST_SITES:
            told = "with sums over further sites a single site's could be told; in one of the two are alone"
        raise SecureAggregationError(
            f"figures of these patients were summed before over other sites; {told} {names}",
            remedy=f"If these hospitals agree, allow it at each hospital: wardround client approve {job}",
        )

    def allow(self, job: str) -> None:
        """Let what was refused to a job last be summed: a person has approved it once more."""
        with self._change() as db:
            db.execute("UPDATE refused_sites SET allowed = 1 WHERE job = ?", (job,))

    def refused(self, job: str) -> list[tuple[str, ...]]:
        """Return the sets of sites that `allow` would let figures be summed over."""
        query = "SELECT DISTINCT sites FROM refused_sites WHERE (job, allowed) = (?, 0) ORDER BY sites"
        with self._change() as db:
            return [tuple(json.loads(row["sites"])) for row in db.execute(query, (job,))]


def _summed(db: sqlite3.Connection, *patients: str) -> list[set[str]]:
    """Return over which sites figures of the patients by any of these names were summed."""
    query = "SELECT sites FROM summed_sites WHERE patients IN (?, ?)"
    return [set(json.loads(row["sites"])) for row in db.execute(query, patients)]


def _is_allowed(db: sqlite3.Connection, job: str, patients: str, sites: Collection[str]) -> bool:
    query = "SELECT allowed FROM refused_sites WHERE (job, patients, sites) = (?, ?, ?)"
    row = db.execute(query, (job, patients, _text(sites))).fetchone()
    return row is not None and bool(row["allowed"])


def _text(sites: Collection[str]) -> str:
    return json.dumps(sorted(sites))
