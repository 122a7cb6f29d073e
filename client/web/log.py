"""The audit log as people read it: a sentence an entry, by day, job and event; and whether it is whole."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.web.jobs import all_jobs
from shared.audit.fields import Value
from shared.audit.log import Entry, log_files
from shared.audit.newest_first import newest_first
from shared.audit.verify import Problem, verify
from shared.pki.certificates import load_key
from shared.web.environment import size
from shared.web.tables import Table

MOST = 100
"""Entries on a page."""
SMALL = 500_000
"""Bytes of a log that is checked unasked: half a second's work."""
_PHASES = {
    "describe": "the description of the data",
    "statistics": "sums before the first round",
    "train": "the update",
    "evaluate": "metrics",
    "statement": "what the site signs about its part",
}
_SIDES = {"train": "training", "val": "validation"}
_SENTENCES = {
    "job-seen": ("The job {job} arrived", " from {researcher}", "."),
    "job-approved": ("{user} approved the job {job}", "."),
    "job-denied": ("{user} denied the job {job}", ", because: {reason}", "."),
    "reply-sent": ("{what} of {job} left", ": {size}", "."),
    "request-refused": ("A request of {job} was refused", " by {rule}", "."),
    "not-approved": ("A request of {job} was not answered: nobody here has approved it", "."),
    "request-failed": ("A request failed", ": {reason}", "."),
    "privacy-spent": (
        "Round {round} of {job} was counted",
        ": epsilon {epsilon:.2f} of the budget of '{dataset}' is spent",
        ", {left:.2f} is left",
        ".",
    ),
    "statement-signed": ("The site's part in the run {run} of {job} was signed", "."),
    "sum-unmasked": ("A sum of {sites} sites of {job} was unmasked", "."),
    "statistics-taken": ("Sums of all sites were taken for {job}", "."),
    "service-started": ("The service started", ", version {version}", "."),
    "service-stopped": ("The service stopped", "."),
    "certificate-renewed": ("The certificate was renewed", "."),
    "ledger-repaired": ("{user} repaired the ledger", "."),
    "records-asked": ("{user} asked the hospital's records which studies '{dataset}' is made of", "."),
    "study-asked-for": ("{user} asked the archive for a study", "."),
    "study-pulled": ("{user} took a study out of the archive", ", {examples} files", "."),
    "results-stored": ("{user} stored results in the archive", ", {examples} objects", "."),
    "study-not-pulled": ("A study did not come out of the archive", ": {reason}", "."),
    "counts-told": ("{user} told the coordinator counts of '{dataset}'", "."),
    "counts-withdrawn": ("{user} took back the counts of '{dataset}'", "."),
    "cohort-accepted": ("{user} let figures about the patients of '{dataset}' as they are now out", "."),
}
"""Sentences in pieces; one whose field is missing is left out."""


@dataclass(frozen=True)
class Line:
    """An entry of the log.

    Attributes:
        said: What happened, as a sentence.
        job: Digest of the job that it is about; empty where it is about none.
        details: Its other fields, as they stand in the log.
    """

    number: int
    time: str
    event: str
    said: str
    job: str
    details: str


@dataclass(frozen=True)
class Choice:
    """Which entries are asked for; an empty text, or 0, asks for all.

    Attributes:
        day: ``2026-11-26``, UTC.
        job: Digest.
        event: Name.
        before: Number of the entry before which they stand.
    """

    day: str = ""
    job: str = ""
    event: str = ""
    before: int = 0

    def marks(self) -> list[bytes]:
        """Return what stands in the lines of the file, as `shared.audit.log.canonical` spells it."""
        asked = {"event": self.event, "job": self.job}
        marks = [f'"{key}":"{value}"' for key, value in asked.items() if value]
        return [mark.encode() for mark in [*marks, *([f'"time":"{self.day}T'] if self.day else [])]]


def newest(folder: Path, choice: Choice, most: int = MOST) -> tuple[list[Line], bool]:
    """Return the newest entries of a site's log, newest first, and whether there are older ones."""
    names = {job.digest: job.name for job in all_jobs(folder)}
    found: list[Line] = []
    for entry in newest_first(folder / "audit", choice.marks()):
        if choice.before and entry.seq >= choice.before:
            continue
        if len(found) == most:
            return found, True
        found.append(_line(entry, names))
    return found, False


def table_of_lines(lines: Sequence[Line]) -> Table:
    """Return entries as a table."""
    rows = [(line.number, line.time, line.event, line.said, line.details) for line in lines]
    return Table("audit-log", "Entries", ("number", "time", "event", "what happened", "fields"), rows)


def _line(entry: Entry, names: Mapping[str, str]) -> Line:
    job = str(entry.fields.get("job", ""))
    details = "  ".join(f"{name}={value}" for name, value in sorted(entry.fields.items()))
    said = _said(entry.event, {**entry.fields, "job": names.get(job, job[:20])})
    return Line(entry.seq, entry.time, entry.event, said, job, details)


def _said(event: str, fields: Mapping[str, Value]) -> str:
    """Return a sentence: the pieces of it whose fields the entry has."""
    told = {"user": "somebody", **fields, "what": what_left(fields).capitalize()}
    count = fields.get("bytes")
    if (
        isinstance(count, int) and count > 0
    ):  # the bytes of arrays: numbers of patients and signatures are none
        told["size"] = size(count)
    if told.get("rule") == "policy.approval":
        event = "not-approved"
    pieces = _SENTENCES.get(event, (event.replace("-", " ").capitalize(), "."))
    if "reason" in told:
        told["reason"] = str(told["reason"]).rstrip(".")
    said = []
    for piece in pieces:
        with suppress(KeyError):
            said.append(piece.format_map(told))
    return "".join(said)


def what_left(fields: Mapping[str, Value]) -> str:
    """Return what a reply carried, in words, with its round."""
    phase, split = str(fields.get("phase", "")), fields.get("split")
    what = _PHASES.get(phase, f"a step of secure aggregation ({phase})")
    if phase == "evaluate" and fields.get("examples") == 0:  # the policy lets no figure leave
        what = "no metrics (zeros in their place)"
    on = f" on {_SIDES.get(str(split), split)} patients" if split else ""
    return f"{what}{on}" + (f" of round {fields['round']}" if fields.get("round") else "")


@dataclass(frozen=True)
class Checked:
    """What a check of the whole log found.

    Attributes:
        head: Number and hash of the newest entry; empty without one.
        moment: When it was checked: UTC, ISO 8601.
    """

    problems: Sequence[Problem]
    head: str
    moment: str


class LogCheck:
    """Checks a site's log, and again only when its files have changed.

    Args:
        folder: The site's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state: list[tuple[str, int, int]] = []
        self._found: Checked | None = None

    def look(self, *, asked: bool = False) -> Checked | None:
        """Return what is found, or None where the log is large and nobody has asked for a check.

        Raises:
            WardroundError: The key or a file can't be read.
        """
        log = self._folder / "audit"
        facts = [(file.name, file.stat()) for file in log_files(log)]
        state = [(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts]
        if self._found is not None and state == self._state:
            return self._found
        if not asked and sum(size for _, size, _ in state) > SMALL:
            return None
        problems = verify(log, load_key(self._folder / "keys" / "site.key").public_key())
        head = next((entry.head for entry in newest_first(log)), "")
        self._state = state
        self._found = Checked(problems, head, datetime.now(UTC).isoformat(timespec="seconds"))
        return self._found
