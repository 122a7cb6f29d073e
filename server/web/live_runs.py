"""Runs that somebody looks at: each is drawn once for all browsers, when something has happened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from server.gateway.people import Caller
from server.gateway.run_desk import RunDesk
from server.report.facts import RunFacts
from server.runs.local import Coordinator
from server.runs.shared_looks import SharedLooks
from server.web.drawing import Drawer
from server.web.live_parts import LiveParts
from server.web.run_view import curves_of, view_of
from server.web.seen_run import SeenRun
from server.web.story import Story
from shared.errors import WardroundError
from shared.run_folder import RunRecord
from shared.web.pages import Pages

_PAUSE_S = 0.5  # between two looks at what has happened
_REST = 9.0  # times what drawing took: of quick rounds not each is drawn


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
        self._looks: SharedLooks[_Live] = SharedLooks()

    async def follow(self, user: Caller, run: RunRecord, metric: str) -> AsyncIterator[bytes]:
        """Yield events for a browser, as the person's role may see the run, until it ends."""
        begin = partial(_Live, self._desk, self._painter, self._desk.of(user), run, metric)
        async with self._looks.join((run.path, user.role, metric), begin) as live:
            async for content in live.events():
                yield content


class _Live(LiveParts):
    """One run as one role sees it, for all browsers that show it."""

    def __init__(
        self, desk: RunDesk, painter: Painter, coordinator: Coordinator, run: RunRecord, metric: str
    ) -> None:
        self._desk, self._painter, self._coordinator = desk, painter, coordinator
        self._run, self._metric = run, metric
        self._drawn: object = None  # the round whose curves are drawn
        self._drawing: asyncio.Task[None] | None = None
        self._next_drawing = 0.0
        self._tables: tuple[int, RunFacts] | None = None  # and after which round they were read
        super().__init__()

    def close(self) -> None:
        """Look no more."""
        super().close()
        if self._drawing:
            self._drawing.cancel()

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
                        self._show({"over": ended})
                    await asyncio.sleep(_PAUSE_S)
        except WardroundError as error:
            self._show({"over": error.problem})

    async def _paint(self, story: Story) -> None:
        run = await self._seen()
        if self._tables is None or self._tables[0] != story.round:
            self._tables = story.round, await self._desk.quickly(partial(read_tables, run))
        tables = self._tables[1]
        self._show(await self._desk.quickly(partial(self._painter.text_parts, run, story, tables)))
        idle = self._drawing is None or self._drawing.done()
        if story.round != self._drawn and idle and self._clock() >= self._next_drawing:
            self._drawn = story.round
            self._drawing = asyncio.create_task(self._draw(tables))

    async def _draw(self, tables: RunFacts) -> None:
        begun = self._clock()
        with contextlib.suppress(WardroundError):  # the next round tries again
            self._show({"curves": await self._painter.curves(tables, self._metric)})
        self._next_drawing = self._clock() + _REST * (self._clock() - begun)

    async def _seen(self) -> SeenRun:
        role = self._coordinator.role
        return await self._desk.quickly(lambda: SeenRun(self._run.path, self._run.job, role))


def read_tables(run: SeenRun) -> RunFacts:
    """Return a run's facts with its tables read, so that nothing more is read where others wait."""
    facts = RunFacts(run)
    _ = facts.rounds, facts.site_rows
    return facts
