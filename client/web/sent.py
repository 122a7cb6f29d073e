"""What has left the hospital: to whom, when, how many bytes; by run, and by round."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.web.jobs import all_jobs
from client.web.log import what_left
from shared.audit.log import Entry
from shared.audit.newest_first import newest_first
from shared.web.tables import Table

_MARK = b'"event":"reply-sent"'


@dataclass(frozen=True)
class SentRun:
    """What has left for one run of a job.

    Attributes:
        run: The coordinator's name of it; empty where the log does not say.
        name: Of the job.
        first: When the first reply left: UTC, ISO 8601; `last` likewise.
        newest: All that has left, newest first.
    """

    job: str
    run: str
    name: str
    first: str
    last: str
    newest: Sequence[Entry]

    @property
    def bytes(self) -> int:
        """Of all replies."""
        return sum(_bytes(entry) for entry in self.newest)

    @property
    def rounds(self) -> int:
        """Rounds in which an update left."""
        return len(
            {entry.fields.get("round") for entry in self.newest if entry.fields.get("phase") == "train"}
        )

    @property
    def researcher(self) -> str:
        """As the coordinator named them."""
        return next(
            (str(e.fields["researcher"]) for e in self.newest if "researcher" in e.fields), "not named"
        )

    def table(self) -> Table:
        """Return every reply, newest first."""
        rows = [
            (
                entry.time[:19].replace("T", " "),
                what_left({**entry.fields, "round": 0}),
                _whole(entry, "round"),
                _bytes(entry),
                _whole(entry, "examples"),
                str(entry.fields.get("sha256", ""))[:16] or None,
            )
            for entry in self.newest
        ]
        columns = ("when (UTC)", "what", "round", "bytes", "examples named", "SHA-256 begins")
        return Table(f"{self.job[:12]}-{self.run or 'run'}", "All that left for this run", columns, rows)


def sent_runs(folder: Path) -> list[SentRun]:
    """Return what has left for each run of each job, newest first, by what the audit log says."""
    names = {job.digest: job.name for job in all_jobs(folder)}
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in newest_first(folder / "audit", [_MARK]):
        key = str(entry.fields.get("job", "")), str(entry.fields.get("run", ""))
        found.setdefault(key, []).append(entry)
    _settle(found)
    return [
        SentRun(job, run, names.get(job, job[:20]), own[-1].time, own[0].time, own)
        for (job, run), own in found.items()
    ]


def _settle(found: dict[tuple[str, str], list[Entry]]) -> None:
    """Put what names no run (descriptions, stages of secure sums) to the run of its job, if it has one."""
    for job in [job for job, run in found if not run]:
        runs = [key for key in found if key[0] == job and key[1]]
        if len(runs) == 1:
            found[runs[0]] += found.pop((job, ""))
            found[runs[0]].sort(key=lambda entry: entry.seq, reverse=True)


def table_of_runs(runs: Sequence[SentRun]) -> Table:
    """Return runs as a table, with how much has left for each."""
    rows = [
        (
            run.name,
            run.job,
            run.run,
            run.researcher,
            run.rounds,
            len(run.newest),
            run.bytes,
            run.first,
            run.last,
        )
        for run in runs
    ]
    columns = ("job", "digest", "run", "researcher", "rounds", "replies", "bytes", "first", "last")
    return Table("sent", "What was sent, by run", columns, rows)


def _bytes(entry: Entry) -> int:
    return _whole(entry, "bytes") or 0


def _whole(entry: Entry, name: str) -> int | None:
    value = entry.fields.get(name)
    return value if isinstance(value, int) else None
