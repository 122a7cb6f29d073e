"""The pages of runs: all of them, one as it goes on, and what may be decided about it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.gateway.people import Caller
from server.gateway.run_desk import Change, RunDesk, may_change
from server.report.content import Section
from server.report.described import description_section
from server.report.facts import RunFacts
from server.report.results import results_section
from server.report.words import asked
from server.runs.control import RunRow
from server.runs.kept_rows import KeptRows
from server.runs.local import Coordinator
from server.web.federation_view import SiteView
from server.web.live_list import LiveList
from server.web.live_runs import LiveRuns, Painter, read_tables
from server.web.run_view import RunView, curves_of, first_metric, kind_of, metrics_of, name_of, view_of
from server.web.seen_run import SeenRun
from server.web.shell import Shell
from server.web.story import Story
from shared.pki.certificates import utc_now
from shared.run_folder import GOING, RunRecord
from shared.text.phrase import phrase
from shared.web.live import live_answer
from shared.web.tables import Table, as_table

_OPEN = ("failed", "interrupted")  # what somebody has to decide about
_MOST_OPEN, _RECENT_DAYS = 5, 14
Wanting = Callable[[Caller], Awaitable[Sequence[SiteView]]]


@dataclass(frozen=True)
class Look:
    """What the page of a run shows besides what goes on."""

    view: RunView
    facts: RunFacts
    metrics: Sequence[tuple[str, str]]
    asked: Table
    results: Section | None


class RunPages:
    """The pages of runs.

    Args:
        shell: Answers.
        desk: Does what is asked.
        painter: Makes the parts that are live.
        wanting: Gives the sites that the caller has to look after.
    """

    def __init__(self, shell: Shell, desk: RunDesk, painter: Painter, wanting: Wanting) -> None:
        self._shell = shell
        self._wanting = wanting
        self._desk = desk
        self._painter = painter
        self._live = LiveRuns(desk, painter)
        self._live_list = LiveList()

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        route = self._shell.route
        return [
            route("/", self.list),
            route("/live", self.live_list),
            route("/runs/{run}", self.look),
            route("/runs/{run}/live", self.live),
            route("/runs/{run}/numbers", self.numbers),
            route("/runs/{run}/stop", self.stop, method="POST", role="researcher"),
            route("/runs/{run}/resume", self.resume, method="POST", role="researcher"),
            route("/runs/{run}/remove", self.remove, method="POST", role="researcher"),
        ]

    async def list(self, request: Request) -> Response:
        """Show the runs; those that wait for somebody first."""
        rows = await self._desk.quickly(self._desk.of(request.user).list)
        return self._shell.answer("runs.html.j2", request, **await self._listed(request.user, rows))

    async def live_list(self, request: Request) -> Response:
        """Stream what changes in the list of runs."""
        user, kept = request.user, KeptRows()

        async def make() -> dict[str, str]:
            rows = await self._desk.quickly(partial(self._desk.of(user).list, kept))
            shown = await self._listed(user, rows)
            return {
                name: self._painter.pages.part(f"runs_{name}.html.j2", **shown) for name in ("open", "all")
            }

        return live_answer(self._live_list.follow(user, make))

    async def _listed(self, user: Caller, rows: Sequence[RunRow]) -> dict[str, Any]:
        """Return what the list of runs shows."""
        recent = (utc_now() - timedelta(days=_RECENT_DAYS)).isoformat()
        stuck = [
            row
            for row in rows
            if row.status in _OPEN and row.started > recent and may_change(user, row.researcher)
        ]
        return {
            "rows": rows,
            "waiting": [row for row in rows if row.status == "waiting"],
            "stuck": stuck[:_MOST_OPEN],
            "sites": await self._wanting(user),
            "kind_of": kind_of,
        }

    async def look(self, request: Request) -> Response:
        """Show a run."""
        user, metric = request.user, request.query_params.get("metric", "")
        run = await self._open(request)
        row = await self._desk.quickly(partial(_row_of, self._desk.of(user), run))
        seen = await self._desk.quickly(partial(SeenRun.seen, run, user.role))
        shown = await self._desk.quickly(partial(_look, seen))
        curves = await self._painter.curves(shown.facts, metric)
        return self._shell.answer(
            "run.html.j2",
            request,
            row=row,
            view=shown.view,
            asked=shown.asked,
            phrase=phrase(run.job.digest()),
            results=shown.results,
            metrics=shown.metrics,
            metric=metric if metric in dict(shown.metrics) else first_metric(shown.facts),
            curves=curves,
            is_live=shown.view.status in GOING,
            can_change=may_change(user, row.researcher),
        )

    async def numbers(self, request: Request) -> Response:
        """Show the curves of a run as tables."""
        run = await self._open(request)
        seen = await self._desk.quickly(partial(SeenRun.seen, run, request.user.role))
        facts = await self._desk.quickly(partial(read_tables, seen))
        tables = [as_table(figure) for figure in curves_of(facts, request.query_params.get("metric", ""))]
        return self._shell.answer("numbers.html.j2", request, run=facts.name, tables=tables)

    async def live(self, request: Request) -> Response:
        """Stream what changes on the page of a run."""
        run, metric = await self._open(request), request.query_params.get("metric", "")
        known = await self._desk.quickly(lambda: metrics_of(RunFacts(run)))
        return live_answer(self._live.follow(request.user, run, metric if metric in known else ""))

    async def stop(self, request: Request) -> Response:
        """Stop a run."""
        return await self._change(
            request, Coordinator.stop, "is stopped; it can go on from its last whole round"
        )

    async def resume(self, request: Request) -> Response:
        """Go on with a run."""
        return await self._change(request, Coordinator.resume, "goes on once there is room")

    async def remove(self, request: Request) -> Response:
        """Remove a run that has ended."""
        await self._shell.form(request)
        name = request.path_params["run"]
        await self._desk.change(request.user, name, Coordinator.remove)
        return self._shell.to(request, "/", f"{name} is removed.")

    async def _change(self, request: Request, change: Change, said: str) -> Response:
        await self._shell.form(request)
        name = request.path_params["run"]
        await self._desk.change(request.user, name, change)
        return self._shell.to(request, f"/runs/{name}", f"{name} {said}.")

    async def _open(self, request: Request) -> RunRecord:
        coordinator = self._desk.of(request.user)
        return await self._desk.quickly(partial(coordinator.open, request.path_params["run"]))


def _row_of(coordinator: Coordinator, run: RunRecord) -> RunRow:
    return coordinator.look(run.path.name).row


def _look(run: SeenRun) -> Look:
    facts, story = RunFacts(run), Story()
    for line in facts.events:  # as far as they may be seen
        story.take(line)
    results = results_section(facts) if facts.test else None
    if facts.about.get("described"):
        results = description_section(facts.job, facts.about)
    return Look(
        view=view_of(run, story, facts),
        facts=facts,
        metrics=[(name, name_of(name)) for name in metrics_of(facts)],
        asked=asked(run.job),
        results=results,
    )
