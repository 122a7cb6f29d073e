"""How many runs are at work at a coordinator, which of those in the queue is next, and why it does not begin.

All that is known of it stands in the folders of runs: a coordinator that was killed loses nothing. Runs are
at work in processes of their own, so whoever takes a place holds a lock meanwhile.

Next is the run of the highest priority; of equal ones that of the person with the fewest runs at work, then
the one whose sites have, then the one that waits for longest. One that may not begin holds up no other.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from server.folder.limits import RunLimits
from server.runs.control import PRIORITIES, is_priority
from server.runs.folder import RunFolder
from shared.files import Lock
from shared.run_folder import ABOUT, AT_WORK, description_of, stamp_of, status_of
from shared.text.plural import many

_LOCK = ".places"


class BackInQueueError(Exception):
    """A run goes on in another process, which the queue begins.

    Attributes:
        waits: It has to wait for its sites, which a process without PyTorch does; otherwise they have come.
    """

    def __init__(self, *, waits: bool = False) -> None:
        super().__init__()
        self.waits = waits


@dataclass(frozen=True)
class Entry:
    """A run that waits or is at work, as far as its place is concerned."""

    name: str
    status: str
    researcher: str
    project: str
    priority: int
    since: str
    is_taken: bool  # out of the queue, and handed to Flower
    waits: bool  # for its sites: a process begins that does nothing else
    told: tuple[int, str]  # its place and why, as `run.json` says

    @classmethod
    def of(cls, path: Path, about: Mapping[str, Any]) -> "Entry":
        """Return what `run.json` says."""
        queue = about.get("queue") or {}
        priority = about.get("priority", "normal")
        return cls(
            name=path.name,
            status=str(about.get("status", "")),
            researcher=str(about.get("researcher") or ""),
            project=str(about.get("project") or ""),
            priority=PRIORITIES.index(priority if is_priority(priority) else "normal"),
            since=str(queue.get("since") or about.get("started") or ""),
            is_taken="taken" in queue,
            waits="waits" in queue,
            told=(int(queue.get("place") or 0), str(queue.get("because") or "")),
        )


@dataclass(frozen=True)
class Queued:
    """A run in the queue: why it does not begin, nothing where it may."""

    entry: Entry
    because: str


@dataclass
class _Load:
    """Runs at work, counted in every way that has a limit."""

    sites_of: Callable[[str], Collection[str]]
    total: int = 0
    people: Counter[str] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    sites: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry) -> None:
        self.total += 1
        self.people[entry.researcher] += bool(entry.researcher)
        self.projects[entry.project] += 1
        self.sites.update(self.sites_of(entry.project))

    def rank(self, entry: Entry) -> tuple[int, int, int, str, str]:
        """Return by what runs are ordered, the next one first."""
        busiest = max((self.sites[site] for site in self.sites_of(entry.project)), default=0)
        return entry.priority, self.people[entry.researcher], busiest, entry.since, entry.name

    def room(self, entry: Entry, limits: RunLimits) -> str:
        """Return why a run may not begin; nothing where it may."""
        at_work = "is at work", "are at work"
        if self.total >= limits.at_once:
            return f"{many(self.total, 'run')} {at_work[self.total > 1]}"
        if (own := self.people[entry.researcher]) >= limits.each_person:
            return f"{many(own, 'run')} of {entry.researcher} {at_work[own > 1]}"
        if (own := self.projects[entry.project]) >= limits.each_project:
            return f"{many(own, 'run')} of the project {entry.project} {at_work[own > 1]}"
        busy = sorted(site for site in self.sites_of(entry.project) if self.sites[site] >= limits.each_site)
        if busy:
            return f"{busy[0]} serves {many(self.sites[busy[0]], 'run')}"
        return ""


class Places:
    """The places of a coordinator's runs.

    Args:
        runs: Folder of the run folders.
        limits: How many may be at work.
        sites_of: Gives the names of a project's sites.
    """

    def __init__(self, runs: Path, limits: RunLimits, sites_of: Callable[[str], Collection[str]]) -> None:
        self._runs = runs
        self._limits = limits
        self._sites_of = sites_of
        self._known: dict[Path, tuple[object, Entry | None]] = {}

    def lock(self) -> Lock:
        """Keep others from taking a place; a context manager."""
        return Lock(self._runs / _LOCK)

    def entries(self) -> list[Entry]:
        """Return the runs that wait or are at work; of a run that has ended the file is not read again."""
        known, self._known = self._known, {}
        for path in self._runs.glob(f"*/{ABOUT}"):
            stamp = stamp_of(path)
            found = known.get(path)
            if found is None or found[0] != stamp:
                found = stamp, _entry(path.parent)
            self._known[path] = found
        return [entry for _, entry in self._known.values() if entry is not None and self._is_alive(entry)]

    def order(self, entries: Iterable[Entry]) -> list[Queued]:
        """Return the queue: the next one first."""
        entries = list(entries)
        left = {entry for entry in entries if entry.status == "queued" and not entry.is_taken}
        if not left:
            return []
        load, imagined = (self._load(entries) for _ in range(2))  # as it is; as if those before had begun
        waiting = [entry.researcher for entry in entries if entry.status == "waiting"]
        order = []
        while left:
            entry = min(left, key=imagined.rank)
            left.remove(entry)
            if entry.waits:  # it will hold no place, and was let in before
                order.append(Queued(entry, ""))
                continue
            because = load.room(entry, self._limits)
            if not (because := because or self._too_many(waiting, entry.researcher)):
                load.add(entry)
            imagined.add(entry)
            order.append(Queued(entry, because))
        return order

    def _too_many(self, waiting: Sequence[str], person: str) -> str:
        """Return why a person's run may not come to wait for sites; nothing where it may.

        The runs of others hold up nobody who has fewer than `each_person` of them.
        """
        if len(waiting) < self._limits.waiting:
            return ""
        if person and waiting.count(person) < self._limits.each_person:
            return ""
        return f"{many(len(waiting), 'run waits', 'runs wait')} for sites"

    def begin_to_wait(self) -> None:
        """Let a run wait for its sites that is about to.

        Raises:
            BackInQueueError: In another process than this one, which has loaded what a run needs later.
        """
        raise BackInQueueError(waits=True)

    def go_to_work(self, run: RunFolder) -> None:
        """Give a place to a run that has not begun with one; its own process calls this.

        Raises:
            BackInQueueError: There is none, or not in this process.
        """
        with self.lock():
            entries = self.entries()
            own = next(entry for entry in entries if entry.name == run.path.name)
            if self._load(entries).room(own, self._limits):
                raise BackInQueueError
            run.describe(status="running", waiting=None)

    def _load(self, entries: Iterable[Entry]) -> _Load:
        load = _Load(cache(self._sites_of))
        for entry in entries:
            begins = entry.status == "queued" and entry.is_taken and not entry.waits
            if entry.status == "running" or begins:
                load.add(entry)
        return load

    def _is_alive(self, entry: Entry) -> bool:
        return entry.status == "queued" or status_of(self._runs / entry.name) in AT_WORK


class WaitingRoom(Places):
    """The places as a process sees them in which a run does nothing but wait for its sites."""

    def begin_to_wait(self) -> None:
        """Go on: this is where runs wait."""

    def go_to_work(self, run: RunFolder) -> None:
        """Leave the work to a process that the queue begins.

        Raises:
            BackInQueueError: Always.
        """
        raise BackInQueueError


def _entry(path: Path) -> Entry | None:
    """Return a run's entry; None of one that has ended, or can't be read."""
    try:
        entry = Entry.of(path, description_of(path))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return entry if entry.status in ("queued", *AT_WORK) else None
