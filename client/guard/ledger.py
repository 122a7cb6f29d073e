"""The site's ledger: what private training has cost the patients of each dataset.

A round is recorded before anything of it is done. All rounds are composed by the accountant from their
steps; no epsilons are added. The ledger's entries stand in the audit log too, so that a file that was edited,
or put back from an old backup, shows: the two are compared before every round.
"""

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from client.guard.database import make_tables, transaction
from client.guard.ledger_entry import FIRST, LedgerEntry, Round, break_in
from client.settings.policy import BudgetError, Cap
from shared.audit.log import AuditLog, Entry
from shared.errors import SiteError
from shared.files import Lock
from shared.pki.key_file import KeyFile
from shared.privacy.accounting import Steps, epsilon_of

LEDGER = "ledger.sqlite"
EVENT = "privacy-spent"  # the audit log's name of a ledger entry
REPAIR = "At the hospital: wardround client budget repair"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    sequence INTEGER PRIMARY KEY,
    moment TEXT NOT NULL,
    dataset TEXT NOT NULL,
    job TEXT NOT NULL,
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    unit TEXT NOT NULL,
    noise_multiplier REAL NOT NULL,
    sample_rate REAL NOT NULL,
    steps INTEGER NOT NULL,
    honest_sites INTEGER NOT NULL,
    chain TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS spent_on ON spent (dataset, moment);
CREATE TABLE IF NOT EXISTS clock (moment TEXT NOT NULL)
"""
_INSERT = "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Account:
    """What one job has asked of one dataset.

    Attributes:
        rounds: Recorded, those that failed and those that were asked for again included.
        last: When the last was recorded: UTC, ISO 8601.
        honest_sites: How many sites must be honest for what was spent to be true; 1 is this site alone.
    """

    dataset: str
    job: str
    unit: str
    rounds: int
    last: str
    honest_sites: int


def _utc() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """A ledger that several processes may use: an SQLite file.

    Args:
        path: The file; made at its first use.
        audit: The site's log, which has every entry of the ledger too.
        clock: Gives the time, with its zone.
    """

    def __init__(self, path: Path, audit: AuditLog, clock: Callable[[], datetime] = _utc) -> None:
        self._path = path
        self._audit = audit
        self._clock = clock
        self._checked = (
            0,
            FIRST,
        )  # number and chain of the last entry that was found to follow from the first

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the ledger of a site's folder, for a command or a page.

        Raises:
            WardroundError: Its audit log can't be used.
        """
        return cls(folder / LEDGER, AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key")))

    def reserve(self, asked: Round, cap: Cap | None, delta: float) -> float:
        """Record a round, or refuse it. It is on the disk, and in the audit log, when this returns.

        Every call counts: a round that is asked for again draws new noise, and is a release of its own.

        Args:
            asked: The round.
            cap: The dataset's; None records without a limit.
            delta: At which epsilon is told where there is no cap.

        Returns:
            The epsilon that the dataset has then lost, in the cap's period.

        Raises:
            BudgetError: It would pass the cap or what the job promises, or the ledger is not whole.
            SiteError: The ledger or the audit log can't be used.
        """
        with self._alone():
            with self._change() as db:
                audited = self._check(db)
                moment = self._moment(db)
                spent, refusal = self._weigh(db, asked, cap, delta, moment)
                if refusal is None:
                    entry = LedgerEntry.after(_last(db), moment.isoformat(timespec="milliseconds"), asked)
                    db.execute(_INSERT, tuple(entry.record().values()))
                known = 0 if audited is None else int(audited.fields["sequence"])
                untold = _entries(db, known)
            if refusal is not None:
                raise refusal
            self._tell(untold, spent, cap)
        return spent

    def history(
        self, dataset: str, unit: str, *, days: int | None = None, job: str | None = None
    ) -> list[Steps]:
        """Return what was done to a dataset, equal steps together: in so many days, by one job.

        Raises:
            SiteError: The ledger can't be used.
        """
        with self._alone(), self._change() as db:
            since = _start(self._moment(db), days)
            return _history(db, dataset, unit, since, job)

    def accounts(self) -> list[Account]:
        """Return what each job has asked of each dataset, oldest first.

        Raises:
            BudgetError: The ledger is not whole.
            SiteError: It can't be used.
        """
        query = (
            "SELECT dataset, job, unit, COUNT(*) AS rounds, MAX(moment) AS last,"
            " MAX(honest_sites) AS honest_sites FROM spent"
            " GROUP BY dataset, job, unit ORDER BY dataset, MIN(sequence)"
        )
        with self._alone(), self._change() as db:
            self._check(db)
            return [Account(**row) for row in db.execute(query)]

    def check(self) -> None:
        """Compare the ledger with itself and with the audit log.

        Raises:
            BudgetError: It was edited, or is older than the audit log.
            SiteError: It can't be used.
        """
        with self._alone(), self._change() as db:
            self._check(db)

    def repair(self, entries: list[LedgerEntry]) -> None:
        """Replace the ledger by what its audit log says.

        Args:
            entries: All that the audit log has, in order.

        Raises:
            SiteError: Some are missing, or do not follow from each other.
        """
        gap = break_in(entries, 0, FIRST)
        if gap is not None:
            raise SiteError(
                f"the audit log lacks ledger entry {gap}, or has another one",
                where=self._path.name,
                remedy="Put archived files of the audit log back, and run `wardround client audit verify`.",
            )
        with self._alone(), self._change() as db:
            db.execute("DELETE FROM spent")
            db.executemany(_INSERT, (tuple(entry.record().values()) for entry in entries))
        self._checked = (0, FIRST)

    def _weigh(
        self, db: sqlite3.Connection, asked: Round, cap: Cap | None, delta: float, moment: datetime
    ) -> tuple[float, BudgetError | None]:
        """Return what will have been spent, and the reason to refuse it, if there is one."""
        if (broken := _broken_promise(db, asked)) is not None:
            return math.nan, broken
        if cap is None:
            history = _history(db, asked.dataset, asked.unit, since="")
            return epsilon_of([*history, asked.steps], delta), None
        since = _start(moment, cap.days)
        query = "SELECT 1 FROM spent WHERE dataset = ? AND moment >= ? AND unit != ? LIMIT 1"
        if db.execute(query, (asked.dataset, since, asked.unit)).fetchone():
            problem = (
                f"policy.privacy: what '{asked.dataset}' has lost was counted by another unit, and can't be "
                f"added to what each {asked.unit} loses"
            )
            return math.nan, BudgetError(problem)
        history = _history(db, asked.dataset, asked.unit, since)
        after = epsilon_of([*history, asked.steps], cap.delta, cap.accountant)
        if after <= cap.epsilon:
            return after, None
        spent = epsilon_of(history, cap.delta, cap.accountant)
        period = "" if cap.days is None else f" in {cap.days} days"
        problem = (
            f"policy.privacy: '{asked.dataset}' may lose epsilon {cap.epsilon:g} at delta {cap.delta:g}"
            f"{period}; {max(cap.epsilon - spent, 0):.2f} is left, and this round would make it {after:.2f}"
        )
        return after, BudgetError(problem, remedy="Train with more noise, fewer steps or smaller batches.")

    def _check(self, db: sqlite3.Connection) -> Entry | None:
        """Compare the ledger with itself and with the audit log; return the log's newest entry of it."""
        sequence, chain = self._checked
        entries = _entries(db, sequence)
        broken = break_in(entries, sequence, chain)
        if broken is not None:
            problem = f"policy.privacy: entry {broken} of the site's ledger was changed"
            raise BudgetError(problem, remedy=REPAIR)
        if entries:
            self._checked = (entries[-1].sequence, entries[-1].chain)
        audited = self._audit.newest(EVENT)
        if audited is not None:
            number = int(audited.fields["sequence"])
            row = db.execute("SELECT chain FROM spent WHERE sequence = ?", (number,)).fetchone()
            if row is None or row["chain"] != audited.fields["chain"]:
                problem = (
                    "policy.privacy: the site's ledger is not the one that its audit log knows, which is at "
                    f"entry {number}; it may come from an old backup"
                )
                raise BudgetError(problem, remedy=REPAIR)
        return audited

    def _tell(self, untold: list[LedgerEntry], spent: float, cap: Cap | None) -> None:
        """Write into the audit log what it lacks: the newest entry, and what a crash has kept from it."""
        *older, newest = untold
        for entry in older:
            self._audit.append(EVENT, **entry.record())
        total = {"epsilon": spent} if math.isfinite(spent) else {}
        left = {} if cap is None else {"left": cap.epsilon - spent}
        self._audit.append(EVENT, **newest.record(), **total, **left)

    def _moment(self, db: sqlite3.Connection) -> datetime:
        """Return the time, which for the ledger never goes back, whatever happens to the machine's clock."""
        marks = db.execute("SELECT moment FROM clock UNION ALL SELECT MAX(moment) FROM spent").fetchall()
        latest = [datetime.fromisoformat(row["moment"]) for row in marks if row["moment"]]
        now = max([self._clock().astimezone(UTC), *latest])
        db.execute("DELETE FROM clock")
        db.execute("INSERT INTO clock VALUES (?)", (now.isoformat(timespec="milliseconds"),))
        return now

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes away, so that the audit log has the entries in their order."""
        try:
            with Lock(self._path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise SiteError(f"the ledger can't be used ({error.strerror})", where=self._path.name) from None

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with transaction(self._path, "the ledger", wal=True) as db:
            make_tables(db, _SCHEMA)
            yield db


def _entries(db: sqlite3.Connection, after: int) -> list[LedgerEntry]:
    query = "SELECT * FROM spent WHERE sequence > ? ORDER BY sequence"
    return [LedgerEntry.read(dict(row)) for row in db.execute(query, (after,))]


def _last(db: sqlite3.Connection) -> LedgerEntry | None:
    row = db.execute("SELECT * FROM spent ORDER BY sequence DESC LIMIT 1").fetchone()
    return None if row is None else LedgerEntry.read(dict(row))


def _broken_promise(db: sqlite3.Connection, asked: Round) -> BudgetError | None:
    """Return why a round would make its job cost more than the job says, or None."""
    promise = asked.promise
    if promise is None:
        return None
    own = _history(db, asked.dataset, asked.unit, "", asked.job)
    after = epsilon_of([*own, asked.steps], promise.delta)
    if after <= promise.epsilon:
        return None
    problem = (
        f"policy.privacy: the job says that it costs epsilon {promise.epsilon:.4g} at delta "
        f"{promise.delta:g} at most, and this round would make it {after:.4g}; rounds that were repeated "
        "count too"
    )
    return BudgetError(problem, remedy="A job with another seed has a promise of its own.")


def _start(moment: datetime, days: int | None) -> str:
    """Return the first moment of the period that ends now, as it sorts; every moment sorts behind ''."""
    return "" if days is None else (moment - timedelta(days=days)).isoformat(timespec="milliseconds")


def _history(
    db: sqlite3.Connection, dataset: str, unit: str, since: str, job: str | None = None
) -> list[Steps]:
    query = (
        "SELECT noise_multiplier, sample_rate, SUM(steps) AS steps FROM spent"
        " WHERE dataset = ? AND unit = ? AND moment >= ? AND job = COALESCE(?, job)"
        " GROUP BY noise_multiplier, sample_rate"
    )
    return [Steps(**row) for row in db.execute(query, (dataset, unit, since, job))]
