"""What a site has answered of each job, and for which models: on disk, so that no restart forgets it.

An approval is for a job's rounds: each request is answered once, and once more for an answer that was lost
or a side that was restarted. What is asked again is asked for the same model, so the coordinator learns
nothing from it that it does not know.
"""

import sqlite3
from dataclasses import dataclass
from datetime import date

from client.guard.database import Book
from client.settings.policy import PolicyError

MOST_ANSWERS = 2
"""How often one request of a job is answered."""

MOST_DESCRIPTIONS = 10
"""How often a job's data are described in a day, or its runs are: when they start, and end."""

_DAILY = {"describe": "the description of the data", "statement": "what is signed about a run"}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answered (
    digest TEXT NOT NULL,
    phase TEXT NOT NULL,
    round INTEGER NOT NULL,
    split TEXT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (digest, phase, round, split)
);
CREATE TABLE IF NOT EXISTS came_first (
    digest TEXT NOT NULL,
    place TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (digest, place)
);
CREATE TABLE IF NOT EXISTS evaluated (
    day TEXT PRIMARY KEY,
    times INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS judged (
    patients TEXT NOT NULL,
    look TEXT NOT NULL,
    PRIMARY KEY (patients, look)
);
"""


@dataclass(frozen=True)
class Carried:
    """What a message carries beside its head, each as its SHA-256, in hexadecimal.

    Attributes:
        model: The global model.
        edges: Of the bins of scores; empty where there are none.
        statistics: Of all sites, that the job asks for; empty where there are none.
    """

    model: str
    edges: str
    statistics: str = ""


@dataclass(frozen=True)
class Asked:
    """One request of a job.

    Attributes:
        job: Digest.
        phase: ``describe``, ``statistics``, ``train``, ``evaluate`` or ``statement``.
        round: From 1; of a description or statement the day, as a number; 0 for statistics.
        split: ``val`` or ``test`` for an evaluation, otherwise empty.
    """

    job: str
    phase: str
    round: int
    split: str = ""

    @property
    def most(self) -> int:
        """How often it is answered."""
        return MOST_DESCRIPTIONS if self.phase in _DAILY else MOST_ANSWERS

    @property
    def model_of(self) -> int:
        """The round after which the global model was what the request carries; 0 is the first model."""
        return self.round - 1 if self.phase == "train" else self.round

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells it from other requests."""
        return self.job, self.phase, self.round, self.split

    def __str__(self) -> str:
        """Return it in words, without the job."""
        if self.phase in _DAILY:
            return _DAILY[self.phase]
        if self.phase == "statistics":
            return "the sums before the first round"
        where = f" on '{self.split}'" if self.split else ""
        return f"{'training' if self.phase == 'train' else 'evaluation'}{where} of round {self.round}"


class Served(Book):
    """The site's memory of requests and models: tables of the book of jobs' SQLite file.

    Args:
        path: The file; made if missing.
    """

    what, schema = "the book of jobs", _SCHEMA

    def check(self, asked: Asked, site: str) -> None:
        """Refuse a request that was answered as often as it may be.

        Raises:
            PolicyError: It was.
        """
        with self._change() as db:
            times = _times(db, asked)
        if times >= asked.most:
            raise _answered(asked, site)

    def believe(self, asked: Asked, carried: Carried, *, unseen_may_be_tested: bool, site: str) -> None:
        """Remember the model that came with a request, or refuse one that is not the model of its round.

        Args:
            asked: The request.
            carried: By it. What is asked again is asked in the same way: other edges of bins tell more.
            unseen_may_be_tested: Whether a site that was sent no model of the job may test one, as one that
                was not drawn may. A site that took part may have missed the round that is tested.
            site: Name of the site, for the error.

        Raises:
            PolicyError: Another model came for the same round before, or for the test.
        """
        with self._change() as db:
            seen = _first(db, asked.job, f"after {asked.model_of}", carried.model)
            if seen not in {None, carried.model}:
                raise _another(
                    asked.job, f"model was sent before as the one after round {asked.model_of}", site
                )
            edges = _first(db, asked.job, f"edges of {asked}", carried.edges)
            if edges not in {None, carried.edges}:
                raise _another(asked.job, "set of bins was sent before for this evaluation", site)
            if asked.split != "test":
                return
            if seen is None and not unseen_may_be_tested and not _took_part(db, asked):
                problem = (
                    "job.model: a model is to be tested, and this site was sent none of the job's rounds"
                )
                raise PolicyError(problem, where=site)
            tested = f"{carried.model} of round {asked.round}"
            if _first(db, asked.job, "test", tested) not in {None, tested}:
                raise _another(asked.job, "model was sent before for the test", site)

    def believe_statistics(self, asked: Asked, carried: Carried, site: str) -> bool:
        """Remember the statistics of all sites that came with a request; say whether they are the first.

        Raises:
            PolicyError: Others came before: what all rounds rest on does not change between them.
        """
        if not carried.statistics:
            return False
        with self._change() as db:
            seen = _first(db, asked.job, "statistics", carried.statistics)
        if seen not in {None, carried.statistics}:
            raise _another(asked.job, "set of statistics of all sites was sent before for this job", site)
        return seen is None

    def count(self, asked: Asked, site: str) -> None:
        """Count an answer, before it leaves.

        Raises:
            PolicyError: There were enough; it must not leave.
        """
        with self._change() as db:
            if _times(db, asked) >= asked.most:
                raise _answered(asked, site)
            db.execute(
                "INSERT INTO answered VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                asked.key,
            )

    def take_evaluation(self, day: date, most: int | None) -> bool:
        """Count an evaluation of any job, unless the day's are used up; one that fails counts too."""
        with self._change() as db:
            row = db.execute("SELECT times FROM evaluated WHERE day = ?", (str(day),)).fetchone()
            if most is not None and row is not None and row["times"] >= most:
                return False
            db.execute(
                "INSERT INTO evaluated VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (str(day),)
            )
        return True

    def take_look(self, patients: str, look: str, most: int | None) -> bool:
        """Count a look at patients (`client.guard.looks`), unless there were enough; once is for good.

        Args:
            patients: Who they are, over all jobs and names of the dataset: where they stand, as
                `DatasetTable.collection`, or `looks.trained_on`.
            look: What is asked. The same again is no further look: it has the same answer.
            most: Looks in all; None where a person has approved this one.
        """
        with self._change() as db:
            known = db.execute("SELECT 1 FROM judged WHERE (patients, look) = (?, ?)", (patients, look))
            if known.fetchone() is None:
                if most is not None and _looks(db, patients) >= most:
                    return False
                db.execute("INSERT INTO judged VALUES (?, ?)", (patients, look))
        return True

    def looks(self, patients: str) -> int:
        """Return how many such looks there were."""
        with self._change() as db:
            return _looks(db, patients)

    def allow_again(self, job: str) -> None:
        """Let each request of a job be answered once more, and its rounds have other models than before."""
        with self._change() as db:
            db.execute("UPDATE answered SET times = times - 1 WHERE digest = ? AND times > 0", (job,))
            db.execute("DELETE FROM came_first WHERE digest = ?", (job,))

    def answers(self, job: str) -> int:
        """Return how many answers were given for a job's rounds."""
        query = "SELECT SUM(times) AS sum FROM answered WHERE digest = ? AND phase NOT IN (?, ?)"
        with self._change() as db:
            return db.execute(query, (job, *_DAILY)).fetchone()["sum"] or 0


def _first(db: sqlite3.Connection, job: str, place: str, content: str) -> str | None:
    """Return what came first for a place, None where it is this from now on."""
    query = "SELECT content FROM came_first WHERE digest = ? AND place = ?"
    row = db.execute(query, (job, place)).fetchone()
    if row is None:
        db.execute("INSERT INTO came_first VALUES (?, ?, ?)", (job, place, content))
        return None
    return str(row["content"])


def _took_part(db: sqlite3.Connection, asked: Asked) -> bool:
    """Say if the site was sent a model of another round of the job."""
    query = "SELECT 1 FROM came_first WHERE digest = ? AND place LIKE 'after %' AND place != ? LIMIT 1"
    return db.execute(query, (asked.job, f"after {asked.model_of}")).fetchone() is not None


def _times(db: sqlite3.Connection, asked: Asked) -> int:
    query = "SELECT times FROM answered WHERE (digest, phase, round, split) = (?, ?, ?, ?)"
    row = db.execute(query, asked.key).fetchone()
    return 0 if row is None else int(row["times"])


def _looks(db: sqlite3.Connection, patients: str) -> int:
    return int(db.execute("SELECT COUNT(*) FROM judged WHERE patients = ?", (patients,)).fetchone()[0])


def _answered(asked: Asked, site: str) -> PolicyError:
    is_daily = asked.phase in _DAILY  # a run that is broken off again and again comes to the end of a day's
    when, tomorrow = (" today", "Tomorrow it is answered again. ") if is_daily else ("", "")
    return PolicyError(
        f"job.requests: {asked} was answered {asked.most} times{when}, which is as often as it may be",
        where=site,
        remedy=f"{tomorrow}{_again(asked.job)}",
    )


def _another(job: str, what: str, site: str) -> PolicyError:
    return PolicyError(f"job.model: another {what}", where=site, remedy=_again(job))


def _again(job: str) -> str:
    return f"If the hospital wants it again: wardround client approve {job}"
