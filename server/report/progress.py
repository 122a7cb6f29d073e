"""Live progress of a run: a bar on a terminal, plain lines in a pipe or a log file."""

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from server.report.content import words
from server.runs.events import Event
from server.runs.waiting import queued_at
from shared.text.plural import many
from shared.text.printable import printable

_TROUBLES = {
    "site_failed": "failed",
    "site_left_out": "is left out",
    "site_only_judges": "only judges the model",
}


class Progress:
    """Shows the events of a run as they come.

    On a terminal: round k of n, sites done in this round, the last loss, the metric, time gone and left.
    Elsewhere: one line per round, baseline or failure, each flushed, without control characters.

    Args:
        console: Where to write.
        metric: Name of the metric to show beside the loss; None shows the loss alone.
    """

    def __init__(self, console: Console, metric: str | None = None) -> None:
        self._console = console
        self._metric = metric
        self._rounds = self._sites = self._done = 0
        self._loss = self._score = self._no_metrics = ""
        self._started = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.fields[counted]}"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task("waiting for the sites", total=None, counted="round")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event; one whose data lack a key is shown without it."""
        handlers: Mapping[str, Callable[[Event], None]] = {
            "run_queued": self._run_queued,
            "run_waiting": self._run_waiting,
            "run_started": self._run_started,
            "site_only_judges": self._trouble,
            "site_left_out": self._trouble,
            "round_started": self._round_started,
            "site_done": self._site_done,
            "site_failed": self._trouble,
            "not_evaluated": self._not_evaluated,
            "site_late": self._late,
            "site_weighed_less": self._weighed_less,
            "round_repeated": self._round_repeated,
            "round_finished": self._round_finished,
            "run_finished": self._run_finished,
            "baselines_started": self._baselines_started,
            "baseline_done": self._baseline_done,
            "line_left_out": self._line_left_out,
        }
        if event.kind in handlers:
            handlers[event.kind](event)

    def _run_queued(self, event: Event) -> None:
        self._bar.update(self._task, description="in the queue")
        self._say(f"in the queue, {queued_at(event.data)}")

    def _run_waiting(self, event: Event) -> None:
        self._bar.update(self._task, description="waiting for the sites")
        self._say(f"waiting for {event.data.get('for', 'its sites')}")

    def _run_started(self, event: Event) -> None:
        self._started = time.monotonic()
        self._rounds = _whole(event, "rounds")
        self._sites = _whole(event, "sites")
        self._bar.update(self._task, total=self._rounds or None, completed=_whole(event, "round"))
        rounds = many(self._rounds, "round") if self._rounds else "no rounds"
        self._say(f"{rounds}, {many(self._sites, 'site')}")

    def _round_started(self, event: Event) -> None:
        self._done = 0
        self._describe(event)

    def _site_done(self, event: Event) -> None:
        self._done += event.phase in ("", "train")
        loss = _number(event, "loss")
        if loss is not None and event.phase in ("", "train"):
            self._loss = f"loss {loss:.4g}"
        self._describe(event)

    def _trouble(self, event: Event) -> None:
        what = _TROUBLES[event.kind]
        when = f"round {event.round}: " if event.round else ""
        phase = f" ({event.phase})" if event.phase else ""
        reason = event.data.get("reason", "no reason given")
        self._say(f"{when}site {event.site} {what}{phase}: {reason}", style="yellow")

    def _not_evaluated(self, event: Event) -> None:
        reason = str(event.data.get("reason", "no reason given"))
        if reason != self._no_metrics:  # of some jobs it is so in every round
            self._no_metrics = reason
            self._say(f"round {event.round}: no metrics: {reason}", style="yellow")

    def _late(self, event: Event) -> None:
        phase = f" ({event.phase})" if event.phase else ""
        self._say(
            f"round {event.round}: site {event.site} is late{phase}: the round goes on without it",
            style="yellow",
        )

    def _weighed_less(self, event: Event) -> None:
        weight, claimed = _whole(event, "weight"), _whole(event, "claimed")
        self._say(
            f"round {event.round}: site {event.site} counts as {weight} samples instead of {claimed} "
            "(strategy.largest_share)",
            style="yellow",
        )

    def _round_repeated(self, event: Event) -> None:
        reason = event.data.get("reason", "no reason given")
        self._say(
            f"round {event.round} is repeated once its sites are back: {reason}",
            style="yellow",
        )

    def _round_finished(self, event: Event) -> None:
        metrics = [
            f"{words(name)} {value:.4g}" for name in event.data if (value := _number(event, name)) is not None
        ]
        score = _number(event, self._metric) if self._metric else None
        if score is not None:
            self._score = f"{words(str(self._metric))} {score:.4g}"
        self._bar.update(self._task, completed=event.round)
        self._describe(event)
        self._bar.refresh()
        if not self._console.is_terminal:
            of = f"/{self._rounds}" if self._rounds else ""
            self._say(", ".join([f"round {event.round}{of}", *metrics, f"{self._elapsed():.1f} s"]))

    def _run_finished(self, event: Event) -> None:
        self._bar.update(self._task, description="finished")
        self._say(f"finished in {self._elapsed():.1f} s")

    def _baselines_started(self, event: Event) -> None:
        models = _whole(event, "models")
        self._bar.reset(self._task, total=models or None, description="", counted="baseline")
        self._say(f"baselines: {models} models")

    def _baseline_done(self, event: Event) -> None:
        self._bar.update(self._task, advance=1, description=event.site)
        seconds = _number(event, "seconds")
        if not self._console.is_terminal:
            self._say(f"baseline {event.site}" + (f", {seconds:.1f} s" if seconds is not None else ""))

    def _line_left_out(self, event: Event) -> None:
        self._say(f"an event of {_whole(event, 'bytes')} bytes can't be shown", style="yellow")

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _describe(self, event: Event) -> None:
        sites = f"{self._done}/{self._sites} sites" if self._sites else f"{self._done} sites"
        phase = event.phase if event.phase in ("evaluate", "test") else ""
        self._bar.update(
            self._task, description="  ".join(filter(None, [sites, phase, self._loss, self._score]))
        )

    def _say(self, line: str, style: str = "") -> None:
        """Print a line, above the bar if there is one; what sites say can't control the terminal."""
        self._bar.refresh()
        self._console.print(Text(printable(line), style=style), soft_wrap=True)
        self._console.file.flush()


def _number(event: Event, key: str) -> float | None:
    """Return a finite number of the event's data, or None."""
    value = event.data.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _whole(event: Event, key: str) -> int:
    return int(_number(event, key) or 0)
