"""What people do with runs, wherever they are: one interface, for this machine and over the network.

`server.runs.local.Coordinator` works on the coordinator's own machine, `server.runs.remote.RemoteCoordinator`
over the people's listener.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, get_args

from server.runs.events import Event, Kind
from shared.errors import RunError
from shared.job.schema import JobSpec

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class UnknownRunError(RunError):
    """A name that no run has."""


@dataclass(frozen=True)
class RunRow:
    """One run, for a list.

    Attributes:
        name: Of the run.
        status: queued while others are at work, waiting for its sites, running, finished, failed, stopped,
            interrupted: its process has died; or unreadable: another version of Wardround has left it.
        round: The last one finished.
        rounds: How many the job asks for.
        started: Time (ISO 8601, UTC).
        researcher: Who submitted it; empty where it was submitted on the coordinator's own machine.
        project: To which it belongs.
        reason: Why it failed, for whom it waits, or its place in the queue.
    """

    name: str
    status: str
    round: int
    rounds: int
    started: str
    researcher: str
    project: str
    reason: str


@dataclass(frozen=True)
class RunDetails:
    """One run, looked at closely.

    Attributes:
        row: Its line in the list.
        job: What was asked.
        description: What `run.json` says.
    """

    row: RunRow
    job: JobSpec
    description: Mapping[str, Any]


class RunControl(Protocol):
    """The runs of one coordinator; every method raises RunError or CoordinatorError where it can't."""

    def submit(self, job: JobSpec, project: str | None = None, priority: Priority = "normal") -> str:
        """Put a new run into the queue and return its name; without a project it belongs to the only one."""

    def resume(self, name: str) -> None:
        """Put a run that was stopped, failed or was interrupted into the queue again."""

    def stop(self, name: str) -> None:
        """Stop a run, or take it out of the queue; it can be resumed."""

    def remove(self, name: str) -> None:
        """Remove a run that has ended, for good."""

    def list(self) -> list[RunRow]:
        """Return all runs, the newest first."""

    def look(self, name: str) -> RunDetails:
        """Return a run by its name."""

    def follow(self, name: str) -> Iterator[Event]:
        """Yield what happened in a run, and what happens, until it ends."""

    def fetch(self, name: str, out: Path) -> Path:
        """Copy a run's folder below `out`, check its models, and return the copy."""


def is_priority(word: str) -> TypeGuard[Priority]:
    """Say whether a word is one of the priorities that a run may have in the queue."""
    return word in PRIORITIES


def parse_event(line: Mapping[str, Any]) -> Event | None:
    """Return an event as it was told, from a line of `events.jsonl`; None for one that only the log knows."""
    content = dict(line)
    kind = content.pop("event", None)
    if kind not in get_args(Kind):
        return None
    content.pop("time", None)
    round_, site, phase = content.pop("round", 0), content.pop("site", ""), content.pop("phase", "")
    data = {key: value for key, value in content.items() if isinstance(value, float | int | str)}
    return Event(kind, int(round_), str(site), str(phase), data)
