"""What a run's events amount to: where it is, what each site does, how long it will take."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from server.runs.event_words import words_of
from shared.web.moments import moment_of

_LAST_EVENTS, _LAST_ROUNDS = 12, 5
_DONE = {"describe": "described its data", "train": "trained", "val": "judged", "test": "tested"}
_TROUBLE = {
    "site_failed": ("lost", "bad"),
    "site_late": ("late", "warn"),
    "site_left_out": ("left out", "bad"),
    "site_only_judges": ("only judges", "good"),
}


@dataclass
class SiteNow:
    """A site in a run, at this moment.

    Attributes:
        state: In a word or two.
        kind: `good`, `busy`, `warn` or `bad`: how the word is marked.
        why: The reason, where there is one.
        loss: The last that it told.
        seconds: Of its last training.
        rounds: In how many it has trained.
    """

    state: str = "joined"
    kind: str = "good"
    why: str = ""
    loss: float | None = None
    seconds: float | None = None
    rounds: int = 0


@dataclass
class Story:
    """A run so far, told by its events, which are taken one after the other."""

    round: int = 0
    rounds: int = 0
    waits_for: str = ""
    until: str = ""
    sites: dict[str, SiteNow] = field(default_factory=dict)
    last: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_LAST_EVENTS))
    scores: Mapping[str, Any] = field(default_factory=dict)
    no_scores: str = ""
    _begun: datetime | None = None
    _lengths: deque[float] = field(default_factory=lambda: deque(maxlen=_LAST_ROUNDS))

    def take(self, line: Mapping[str, Any]) -> None:
        """Take the next event, a line of `events.jsonl`, as far as it may be seen."""
        kind, site = str(line.get("event", "")), str(line.get("site") or "")
        if site:
            self._take_site(kind, self.sites.setdefault(site, SiteNow()), line)
        elif handler := getattr(self, f"_{kind}", None) if kind in _OF_RUN else None:
            handler(line)
        if said := words_of(line):
            self.last.appendleft((str(line.get("time", "")), said))

    def expect(self, names: Mapping[str, Any]) -> None:
        """Take in the sites that take part, of which no event tells by name."""
        for name in names:
            self.sites.setdefault(name, SiteNow())

    def seconds_left(self, now: datetime | None = None) -> float | None:
        """Return how long the other rounds will take, by the last ones; None where nothing says it."""
        if not self._lengths or not self.rounds:
            return None
        gone = ((now or datetime.now(UTC)) - self._begun).total_seconds() if self._begun else 0.0
        each = median(self._lengths)
        return max(each * (self.rounds - self.round) - min(gone, each), 0.0)

    def _take_site(self, kind: str, site: SiteNow, line: Mapping[str, Any]) -> None:
        phase = str(line.get("phase") or "")
        if kind in _TROUBLE:
            site.state, site.kind = _TROUBLE[kind]
            site.why = str(line.get("reason") or "")
        elif kind == "site_joined":
            site.state, site.kind, site.why = "joined", "good", ""
        elif kind == "site_done":
            site.state, site.kind, site.why = _DONE.get(phase, phase or "done"), "good", ""
            if phase in ("", "train"):
                site.rounds += 1
                site.loss, site.seconds = _number(line.get("loss")), _number(line.get("seconds"))

    def _run_waiting(self, line: Mapping[str, Any]) -> None:
        self.waits_for, self.until = str(line.get("for") or "its sites"), str(line.get("until") or "")

    def _run_started(self, line: Mapping[str, Any]) -> None:
        self.waits_for = self.until = ""
        self.rounds, self.round = int(line.get("rounds") or 0), int(line.get("round") or 0)
        self._begun = None

    def _round_started(self, line: Mapping[str, Any]) -> None:
        self._begun = moment_of(line.get("time"))
        for site in self.sites.values():
            if site.state not in {"left out", "only judges"}:
                site.state, site.kind, site.why = "at work", "busy", ""

    def _round_finished(self, line: Mapping[str, Any]) -> None:
        self.round = int(line.get("round") or self.round)
        self.scores = {key: value for key, value in line.items() if isinstance(value, float)}
        ended = moment_of(line.get("time"))
        if self._begun and ended:
            self._lengths.append((ended - self._begun).total_seconds())
        self._begun = None

    def _not_evaluated(self, line: Mapping[str, Any]) -> None:
        self.no_scores = str(line.get("reason") or "")

    def _run_finished(self, _: Mapping[str, Any]) -> None:
        self._begun = None
        for site in self.sites.values():
            if site.kind == "busy":
                site.state, site.kind = "done", "good"


_OF_RUN = {
    *("run_waiting", "run_started", "round_started"),
    *("round_finished", "not_evaluated", "run_finished"),
}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
