"""What trackers are told: the events of a run, as numbers by round."""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from server.runs.control import RunControl, parse_event
from server.runs.events import Event
from server.track.sink import About, Sink, Target
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.run_folder import ENDED, RunRecord

log = logging.getLogger(__name__)


class Tracker:
    """Passes the events of a run on to trackers; one that fails is left out, and never stops the run.

    Numbers are named `validation/METRIC` and `train/loss` (the federation's), `train/loss/SITE` and
    `seconds/SITE`, and at the end `test/METRIC`. Sites may be at work on the next round when one is finished,
    and events come from several threads.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._sinks = dict(sinks)
        self._rounds: dict[int, dict[str, float]] = defaultdict(dict)
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            if event.kind == "site_done" and event.phase == "train":
                self._rounds[event.round] |= _of_site(event)
            elif event.kind == "round_finished":
                scores = dict(event.data)
                self._rounds[event.round] |= _named("train/loss", scores.pop("train_loss", None))
                self._rounds[event.round] |= _all("validation", scores)
                numbers = self._rounds.pop(event.round)
                self._pass_on(lambda sink: sink.log(numbers, event.round))

    @contextmanager
    def until_the_end_of(self, run: RunRecord) -> Iterator[None]:
        """Tell the trackers that a run has ended, however it did, when the block is left."""
        try:
            yield
        finally:
            self.finish(run.read_description(), run.status)

    def finish(self, description: Mapping[str, Any], status: str) -> None:
        """Take the end of a run: what `run.json` says of it, and how it ended."""
        test = _all("test", (description.get("test") or {}).get("federation") or {})
        self._pass_on(lambda sink: sink.finish(test, status))
        self._sinks = {}

    def _pass_on(self, do: Any) -> None:
        for place, sink in list(self._sinks.items()):
            try:
                do(sink)
            except Exception as error:  # of a library: whatever it is, the run goes on
                log.warning("%s is told nothing more of this run: %s", place, error)
                del self._sinks[place]


def open_tracker(run: RunRecord, targets: Sequence[str], *, goes_on: bool = False) -> Tracker:
    """Open trackers for a run.

    Args:
        run: The run.
        targets: As `Target.parse` reads them.
        goes_on: The run was tracked before, and goes on.

    Raises:
        RunError: One can't be used.
    """
    return _open(run.path.resolve().name, run.job, targets, goes_on=goes_on)


def _open(name: str, job: JobSpec, targets: Sequence[str], *, goes_on: bool = False) -> Tracker:
    asked = [Target.parse(text) for text in targets]
    about = About(name, dict(_flat(json.loads(job.canonical()))))
    return Tracker({str(target): target.open(about, goes_on=goes_on) for target in asked})


def track_finished(run: RunRecord, targets: Sequence[str]) -> None:
    """Tell trackers of a run that has ended, from its log.

    Raises:
        RunError: It goes on, or a tracker can't be used.
    """
    if run.status not in ENDED:
        raise RunError(f"is {run.status}: only a run that has ended is tracked afterwards", where=run.path)
    tracker = open_tracker(run, targets)
    for line in run.events():
        event = parse_event(line)
        if event is not None:
            tracker(event)
    tracker.finish(run.read_description(), run.status)


def track_going(control: RunControl, name: str, targets: Sequence[str]) -> None:
    """Tell trackers of a run of a coordinator: what has happened, and what happens until it ends.

    They are told what may be seen of it by the person whose log-in it is.

    Args:
        control: The coordinator's runs.
        name: Of the run.
        targets: As `Target.parse` reads them.

    Raises:
        WardroundError: There is no such run, the coordinator can't be asked, or a tracker can't be used.
    """
    tracker = _open(name, control.look(name).job, targets)
    for event in control.follow(name):
        tracker(event)
    ended = control.look(name)
    tracker.finish(ended.description, ended.row.status)


def _of_site(event: Event) -> dict[str, float]:
    loss = _named(f"train/loss/{event.site}", event.data.get("loss"))
    return loss | _named(f"seconds/{event.site}", event.data.get("seconds"))


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str | float | bool]]:
    """Give the keys of nested tables, dotted; lists as JSON."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif value is not None:
            yield f"{before}{key}", value if isinstance(value, str | float | int) else json.dumps(value)


def _all(group: str, numbers: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: own for name, value in numbers.items() for key, own in _named(f"{group}/{name}", value).items()
    }


def _named(name: str, value: Any) -> dict[str, float]:
    """Return a number by its name; nothing where it has no meaning."""
    known = isinstance(value, int | float) and math.isfinite(value)
    return {name: float(value)} if known else {}
