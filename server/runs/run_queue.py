"""The queue of a coordinator's runs: begins those for which there is room, tells the others where they are.

Whoever submits or resumes a run says in its `run.json` that it is in the queue. What is taken out of it and
handed to Flower is watched until its process is there; what Flower lost is put back.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.runs.folder import RunFolder
from server.runs.life import note_failed
from server.runs.local import Coordinator
from server.runs.places import Entry, Places, Queued
from server.superlink.superlink import SuperLink
from shared.clock import utc_text
from shared.errors import WardroundError
from shared.text.logs import about

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between looks
_SLOW = 120.0  # seconds after which it is said that a run's process takes long to come up
_FROM_FLOWER = 3.0  # seconds between questions to Flower while a run has not begun


@dataclass
class _Start:
    """A run that was handed to Flower."""

    number: int
    slow: float
    ask: float


class RunQueue:
    """Begins runs, one look after the other.

    Args:
        link: Supervised.
        runs: The coordinator's, in whose name runs begin.
        folder: Of the run folders.
        places: Says which is next.
    """

    def __init__(self, link: SuperLink, runs: Coordinator, folder: Path, places: Places) -> None:
        self._link = link
        self._runs = runs
        self._folder = folder
        self._places = places
        self._starts: dict[str, _Start] = {}
        self._unread: set[str] = set()  # runs on which nothing can be done until they can be read again
        self._wrong: set[str] = set()  # what was found wrong in this look
        self._wrong_before: set[str] = set()  # and in the one before: it is said once
        self._link_starts = link.starts

    async def watch(self) -> None:
        """Begin what may begin whenever there is room; until cancelled."""
        while True:
            await self._link.wait_healthy()
            if self._link.starts != self._link_starts:  # another SuperLink knows nothing of them
                self._link_starts = self._link.starts
                self.forget_starts()
            try:
                await asyncio.to_thread(self.look)
            except (WardroundError, OSError, ValueError) as error:  # a full disk must not end the watch
                self._warn("the queue of runs can't be looked at: %s", str(error))
            await asyncio.sleep(_LOOK)

    def forget_starts(self) -> None:
        """Have what was handed to Flower, and has not begun, begun anew."""
        self._starts.clear()

    def look(self) -> None:
        """Do what is to be done now; a run that can't be read holds up no other."""
        self._wrong_before, self._wrong = self._wrong, set()
        self._unread = {name for name in self._unread if _is_broken(self._folder / name)}
        self._watch_starts()
        with self._places.lock():
            for entry in self._entries():
                if entry.status == "queued" and entry.is_taken and entry.name not in self._starts:
                    with self._apart(entry.name):
                        self._put_back(entry)
            order = self._places.order(self._entries())
            begin = []
            for one in order:
                with self._apart(one.entry.name):
                    if not one.because and self._take(one.entry.name):
                        begin.append(one.entry.name)
        for name in begin:
            self._begin(name)
        self._tell([one for one in order if one.because])

    def _entries(self) -> list[Entry]:
        return [
            entry
            for entry in self._places.entries()
            if entry.status != "queued" or entry.name not in self._unread
        ]

    @contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """Go on with the other runs where something is wrong with one."""
        try:
            yield
        except (WardroundError, OSError, ValueError) as error:
            if name not in self._unread:
                self._warn("run %s is passed over: %s", name, str(error))
            self._unread.add(name)

    def _warn(self, words: str, *given: str) -> None:
        """Say what is wrong, once for as long as it lasts: looks follow each other by half a second.

        Args:
            words: As `logging` has them.
            given: In their places: the run, if it is about one, and the problem.
        """
        self._wrong.add(words % given)
        if words % given not in self._wrong_before:
            log.warning(words, *given, extra=about(run=given[0]) if len(given) > 1 else None)

    def _take(self, name: str) -> bool:
        """Take a run out of the queue; says whether it is still in it."""
        run = RunFolder.read(self._folder / name)
        with run.lock():
            about = run.read_description()
            if about.get("status") != "queued":
                return False
            queue = _of_queue(about) | {"taken": utc_text("milliseconds")}
            run.describe(queue=queue)
        return True

    def _put_back(self, entry: Entry) -> None:
        run = RunFolder.read(self._folder / entry.name)
        with run.lock():
            about = run.read_description()
            if about.get("status") == "queued":
                run.describe(queue=_of_queue(about))

    def _begin(self, name: str) -> None:
        try:
            now = time.monotonic()
            self._starts[name] = _Start(self._runs.begin(name), now + _SLOW, now + _FROM_FLOWER)
        except WardroundError as error:  # the next look puts it back, and tries again
            self._warn("run %s can't be begun now: %s", name, str(error))

    def _watch_starts(self) -> None:
        """Let go of the runs that have begun; those whose process ended before that have failed."""
        for name, start in list(self._starts.items()):
            if not (self._folder / name).exists():
                del self._starts[name]
                continue
            with self._apart(name):
                self._watch_start(RunFolder.read(self._folder / name), start)

    def _watch_start(self, run: RunFolder, start: _Start) -> None:
        now, about = time.monotonic(), run.read_description()
        if about.get("status") != "queued":
            del self._starts[run.path.name]
        elif "taken" not in (about.get("queue") or {}):  # stopped and resumed since: it begins anew
            del self._starts[run.path.name]
            self._runs.end(start.number)
        elif now > start.ask:
            start.ask = now + _FROM_FLOWER
            if reason := self._runs.failure(start.number):
                self._fail(run, f"could not be started: {reason}")
            elif now > start.slow:  # on a busy machine loading takes minutes: nothing is lost by waiting
                start.slow = math.inf
                self._tell_slow(run)

    def _tell_slow(self, run: RunFolder) -> None:
        """Say of a run why nothing is seen of it."""
        because = f"its process takes more than {_SLOW:g} s to come up, as on a machine with too much to do"
        with run.lock():
            said = run.read_description()
            if said.get("status") == "queued":
                run.describe(queue=said["queue"] | {"because": because})
                log.warning("run %s: %s", run.path.name, because, extra=about(run=run.path.name))

    def _fail(self, run: RunFolder, reason: str) -> None:
        start = self._starts.pop(run.path.name)
        self._runs.end(start.number)
        note_failed(run, reason)

    def _tell(self, queue: list[Queued]) -> None:
        """Say to each run in the queue which place it has now, and what it waits for."""
        for place, one in enumerate(queue, 1):
            if one.entry.told != (place, one.because):
                with self._apart(one.entry.name):
                    self._tell_one(RunFolder.read(self._folder / one.entry.name), place, one.because)

    def _tell_one(self, run: RunFolder, place: int, because: str) -> None:
        with run.lock():
            about = run.read_description()
            if about.get("status") == "queued":
                run.describe(queue=about["queue"] | {"place": place, "because": because})
                run.event("run_queued", place=place, because=because)


def _of_queue(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's entry in the queue says, but for what it was told there."""
    return {key: value for key, value in about["queue"].items() if key not in ("place", "because", "taken")}


def _is_broken(path: Path) -> bool:
    """Say whether a run is there and can't be read."""
    if not path.exists():
        return False
    try:
        RunFolder.read(path)
    except WardroundError:
        return True
    return False
