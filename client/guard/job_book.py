"""The jobs that a site has seen, what was decided about each, and how much each has used."""

import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from client.guard.database import Book
from client.guard.evaluated_sets import EvaluatedSets
from client.guard.served_requests import Served
from shared.clock import utc_text
from shared.errors import SiteError
from shared.job.schema import JobSpec, parse_job

Decision = Literal["waiting", "approved", "denied"]
MOST_WAITING = 1000  # a coordinator can't fill the disk with jobs that nobody decides on
SHORTEST_PREFIX = 20  # hexadecimal digits: 80 bits, for which nobody finds a second job
_PREFIX = re.compile(rf"[0-9a-fA-F]{{{SHORTEST_PREFIX},64}}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    researcher TEXT NOT NULL,
    content TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('waiting', 'approved', 'denied')),
    decided TEXT,
    decided_by TEXT
);
CREATE TABLE IF NOT EXISTS served (
    digest TEXT NOT NULL,
    day TEXT NOT NULL,
    rounds INTEGER NOT NULL,
    PRIMARY KEY (digest, day)
);
CREATE TABLE IF NOT EXISTS reason (
    digest TEXT PRIMARY KEY,
    said TEXT NOT NULL
);
"""
_REASON = "COALESCE((SELECT said FROM reason WHERE reason.digest = job.digest), '')"
_ROUNDS = "COALESCE((SELECT SUM(rounds) FROM served WHERE served.digest = job.digest), 0)"


@dataclass(frozen=True)
class SeenJob:
    """A job that has arrived.

    Attributes:
        researcher: As the coordinator named them; empty where it named nobody.
        content: Canonical JSON.
        first_seen: UTC, ISO 8601; `decided` likewise.
        decided_by: User who decided; None while nobody has.
        reason: What they gave as their reason; it stays at the site. Empty where they gave none.
        rounds: Rounds of training served so far.
    """

    digest: str
    name: str
    researcher: str
    content: str
    first_seen: str
    decision: Decision
    decided: str | None
    decided_by: str | None
    reason: str
    rounds: int

    def spec(self) -> JobSpec:
        """Return the job itself.

        Raises:
            JobError: It was written by another version of Wardround.
        """
        return parse_job(json.loads(self.content), f"job {self.digest[:12]}")


class JobBook(Book):
    """The site's book of jobs: one SQLite file, which service and commands may use at once.

    Args:
        path: The file; made if missing.

    Attributes:
        served: What was answered of each job.
        sets: Over which sites metrics were summed.
    """

    what, schema = "the book of jobs", _SCHEMA

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.served = Served(path)
        self.sets = EvaluatedSets(path)

    def meet(self, job: JobSpec, researcher: str) -> tuple[Decision, bool]:
        """Return what was decided about a job, and whether it is here for the first time."""
        with self._change() as db:
            digest = job.digest()
            row = db.execute("SELECT decision FROM job WHERE digest = ?", (digest,)).fetchone()
            if row is not None:
                return row["decision"], False
            db.execute(
                "INSERT INTO job VALUES (?, ?, ?, ?, ?, 'waiting', NULL, NULL)",
                (digest, job.job.name, researcher, job.canonical(), utc_text()),
            )
            db.execute(
                "DELETE FROM job WHERE digest IN (SELECT digest FROM job WHERE decision = 'waiting'"
                " ORDER BY first_seen DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (MOST_WAITING,),
            )
        return "waiting", True

    def decide(self, digest: str, decision: Decision, user: str, reason: str = "") -> None:
        """Write down what a person decided about a job, and why.

        An approval lets it ask again what it has asked, and sum metrics over the sites that were refused.
        """
        if decision == "approved":
            self.served.allow_again(digest)
            self.sets.allow(digest)
        with self._change() as db:
            db.execute(
                "UPDATE job SET decision = ?, decided = ?, decided_by = ? WHERE digest = ?",
                (decision, utc_text(), user, digest),
            )
            db.execute("INSERT OR REPLACE INTO reason VALUES (?, ?)", (digest, reason))

    def take_round(self, digest: str, day: date, most: int | None) -> bool:
        """Count a round of training, unless the day's are used up; a round that fails counts too."""
        with self._change() as db:
            today = db.execute("SELECT SUM(rounds) AS sum FROM served WHERE day = ?", (str(day),)).fetchone()
            if most is not None and (today["sum"] or 0) >= most:
                return False
            db.execute(
                "INSERT INTO served VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET rounds = rounds + 1",
                (digest, str(day)),
            )
        return True

    def jobs(self) -> list[SeenJob]:
        """Return every job that has arrived, newest first."""
        query = (
            f"SELECT job.*, {_REASON} AS reason, {_ROUNDS} AS rounds FROM job"  # noqa: S608 (both are above)
            " ORDER BY first_seen DESC, job.rowid DESC"
        )
        with self._change() as db:
            return [SeenJob(**row) for row in db.execute(query)]

    def find(self, prefix: str) -> SeenJob:
        """Return the one job whose digest is this, or begins with these 20 or more digits.

        Raises:
            SiteError: There is none, or more than one, or it is too short or no digest.
        """
        if not _PREFIX.fullmatch(prefix):
            raise SiteError(
                f"give the digest, or at least {SHORTEST_PREFIX} of its hexadecimal digits",
                where=prefix,
                remedy="See `wardround client jobs`.",
            )
        found = [job for job in self.jobs() if job.digest.startswith(prefix.lower())]
        if len(found) != 1:
            problem = f"{len(found)} jobs have" if found else "no job that has arrived here has"
            raise SiteError(f"{problem} this digest", where=prefix, remedy="See `wardround client jobs`.")
        return found[0]
