"""Runs that somebody looks at: each is drawn once for all browsers, when something has happened."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup

from server.gateway.people import Caller
from server.gateway.run_desk import LONGEST_STREAM, SIGN_OF_LIFE, RunDesk
from server.report.facts import RunFacts
from server.runs.local import Coordinator
from server.web.drawing import Drawer
from server.web.run_view import curves_of, view_of
from server.web.seen_run import SeenRun
from server.web.story import Story
from shared.errors import WardroundError
from shared.run_folder import RunRecord
from shared.web.live import ALIVE, event
from shared.web.pages import Pages

_PAUSE_S = 0.3  # between two looks at what has happened
_REST = 3.0  # times what drawing took: of quick rounds not each is drawn
_EVENTS = 64  # that are kept for those who are a little behind
_Key = tuple[Path, str, str]


@dataclass(frozen=True)
class Painter:
    """Makes the parts of a run's page."""

    pages: Pages
    drawer: Drawer

    def text_parts(self, run: SeenRun, story: Story, tables: RunFacts) -> dict[str, str]:
        """Return the parts that are text: what a run does now."""
        view = view_of(run, story, tables)
        return {
            name: self.pages.part(f"run_{name}.html.j2", view=view)
            for name in ("status", "now", "sites", "events")
        }

    async def curves(self, facts: RunFacts, metric: str) -> Markup:
        """Return the part with the curves."""
        figures = curves_of(facts, metric)
        drawn = await self.drawer.draw(figures)
        shown = list(zip(figures, drawn, strict=True))
        asked = {"run": facts.name, "metric": metric, "rounds": len(facts.rounds)}
        return self.pages.part("run_curves.html.j2", figures=shown, **asked)


class LiveRuns:
    """What browsers are sent of the runs that they show.

    Args:
        desk: Gives the events of runs.
        painter: Makes the parts.
    """

    def __init__(self, desk: RunDesk, painter: Painter) -> None:
        self._desk = desk
        self._painter = painter
        self._live: dict[_Key, _Live] = {}

    async def follow(self, user: Caller, run: RunRecord, metric: str) -> AsyncIterator[bytes]:
        """Yield events for a browser, as the person's role may see the run, until it ends."""
        key = (run.path, user.role, metric)
        live = self._live.get(key)
        if live is None or live.is_over:
            live = self._live[key] = _Live(self._desk, self._painter, self._desk.of(user), run, metric)
        live.watchers += 1
        try:
            async for content in live.events():
                yield content
        finally:
            live.watchers -= 1
            if not live.watchers:
                live.close()
                if self._live.get(key) is live:
                    del self._live[key]


class _Live:
    """One run as one role sees it, for all browsers that show it."""

    def __init__(
        self, desk: RunDesk, painter: Painter, coordinator: Coordinator, run: RunRecord, metric: str
    ) -> None:
        self.watchers = 0
        self._desk, self._painter, self._coordinator = desk, painter, coordinator
        self._run, self._metric = run, metric
        self._parts: dict[str, str] = {}
        self._events: deque[bytes] = deque(maxlen=_EVENTS)
        self._count = 0  # of events so far
        self._news = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._drawn: object = None  # the round whose curves are drawn
        self._drawing: asyncio.Task[None] | None = None
        self._next_drawing = 0.0
        self._tables: tuple[int, RunFacts] | None = None  # and after which round they were read
        self._task = asyncio.create_task(self._keep())

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._task.done()

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()
        if self._drawing:
            self._drawing.cancel()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what a browser is sent: everything, and then what changes."""
        end, known = self._clock() + LONGEST_STREAM, -1
        while self._clock() < end:
            if known < self._count - len(self._events) or known < 0:
                known, content = self._count, [event(self._parts)] if self._parts else [ALIVE]
            else:
                behind, known = self._count - known, self._count
                content = list(self._events)[len(self._events) - behind :] or [ALIVE]
            for one in content:
                yield one
            if self.is_over:
                return
            news = self._news
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SIGN_OF_LIFE):
                    while self._count == known and not self.is_over:
                        await news.wait()
                        news = self._news

    def _tell(self, parts: Mapping[str, str]) -> None:
        changed = {name: html for name, html in parts.items() if self._parts.get(name) != html}
        if changed:
            self._parts |= changed
            self._events.append(event(changed))
            self._count += 1
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _keep(self) -> None:
        story = Story()
        try:
            async with aclosing(self._desk.follow(self._run, 0)) as looks:
                async for lines, ended in looks:
                    figures = await self._desk.figures(self._coordinator, self._run)
                    for _, line in lines:
                        story.take(figures.event(line))
                    await self._paint(story)
                    if ended is not None:
                        self._tell({"over": ended})
                    await asyncio.sleep(_PAUSE_S)
        except WardroundError as error:
            self._tell({"over": error.problem})
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    async def _paint(self, story: Story) -> None:
        run = await self._seen()
        if self._tables is None or self._tables[0] != story.round:
            self._tables = story.round, await self._desk.quickly(partial(read_tables, run))
        tables = self._tables[1]
        self._tell(await self._desk.quickly(partial(self._painter.text_parts, run, story, tables)))
        idle = self._drawing is None or self._drawing.done()
        if story.round != self._drawn and idle and self._clock() >= self._next_drawing:
            self._drawn = story.round
            self._drawing = asyncio.create_task(self._draw(tables))

    async def _draw(self, tables: RunFacts) -> None:
        begun = self._clock()
        with contextlib.suppress(WardroundError):  # the next round tries again
            self._tell({"curves": await self._painter.curves(tables, self._metric)})
        self._next_drawing = self._clock() + _REST * (self._clock() - begun)

    async def _seen(self) -> SeenRun:
        role = self._coordinator.role
        return await self._desk.quickly(lambda: SeenRun(self._run.path, self._run.job, role))


def read_tables(run: SeenRun) -> RunFacts:
    """Return a run's facts with its tables read, so that nothing more is read where others wait."""
    facts = RunFacts(run)
    _ = facts.rounds, facts.site_rows
    return facts
