"""Reports and comparisons of runs as pages: made beside, and kept while nothing has changed.

One that takes longer than a page may is begun, and a page says what is being done until it is there.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.gateway.run_desk import RunDesk
from server.web.report_makers import Made, ReportMakers
from server.web.shell import Shell
from shared.errors import WardroundError
from shared.recent import Recent
from shared.run_folder import ABOUT, EVENTS, RunRecord
from shared.web.live import ALIVE, event, live_answer

_SOON_S = 0.8  # what is made by then is shown at once
_LOOK_S = 1.0
_COME_BACK_S = 60.0  # in which a page that waits has come back: later, what is shown is made anew
_KEPT = 16
_MOST_RUNS = 8
_MOST_EACH = 3  # reports that one person may have under way


@dataclass
class _Making:
    """A report that is made, or was.

    Attributes:
        stamp: What its runs looked like when it was begun.
        task: Gives it.
        says: What is being done.
        waiting: Names of people who have been told to wait for it.
        ended: When it was there, by the loop's clock.
    """

    stamp: tuple[Any, ...]
    task: "asyncio.Task[Made]"
    says: str = "Waiting for other reports."
    waiting: set[str] = field(default_factory=set)
    ended: float = 0.0

    def is_for(self, person: str, stamp: tuple[Any, ...]) -> bool:
        """Say whether a person is shown it, whose runs look so now."""
        if not self.task.done():
            return True
        if self.task.cancelled() or self.task.exception() is not None:
            return self._is_awaited_by(person)
        return self.stamp == stamp or self._is_awaited_by(person)

    def _is_awaited_by(self, person: str) -> bool:
        since = asyncio.get_running_loop().time() - self.ended
        return person in self.waiting and since < _COME_BACK_S


class ReportPages:
    """Reports as pages, and as files to keep.

    Args:
        shell: Answers.
        desk: Gives the runs that a person may see.
    """

    def __init__(self, shell: Shell, desk: RunDesk) -> None:
        self._shell = shell
        self._desk = desk
        self._makers = ReportMakers()
        self._kept: Recent[tuple[Any, ...], _Making] = Recent(_KEPT)
        self._under_way: dict[asyncio.Task[Made], str] = {}  # and who asked for it

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            self._shell.route("/runs/{run}/report", self.report),
            self._shell.route("/runs/{run}/report/live", self.live),
            self._shell.route("/runs/{run}/report.html", self.file),
            self._shell.route("/compare", self.compare),
            self._shell.route("/compare/live", self.live),
        ]

    async def close(self) -> None:
        """End what is under way."""
        for task in self._under_way:
            task.cancel()
        await self._makers.close()

    async def report(self, request: Request) -> Response:
        """Show the report of a run."""
        name = request.path_params["run"]
        return await self._page(request, [name], f"/runs/{name}/report", file=f"/runs/{name}/report.html")

    async def file(self, request: Request) -> Response:
        """Give the report of a run as a file that needs nothing beside it."""
        name = request.path_params["run"]
        made = await asyncio.shield((await self._making(request, [name], whole=True)).task)
        headers = {"content-disposition": f'attachment; filename="{name}.html"'}
        return Response(made.html, media_type="text/html", headers=headers)

    async def compare(self, request: Request) -> Response:
        """Show runs side by side."""
        names = _names(request)
        query = urlencode([("run", name) for name in names])
        return await self._page(request, names, "/compare", f"?{query}")

    async def live(self, request: Request) -> Response:
        """Stream what is being done for a report, until it is there."""
        making = await self._making(request, _names(request), whole=False)
        return live_answer(_progress(making))

    async def _page(
        self, request: Request, names: Sequence[str], path: str, query: str = "", *, file: str = ""
    ) -> Response:
        """Show a report, or a page that waits for it."""
        making = await self._making(request, names, whole=False)
        await asyncio.wait({making.task}, timeout=_SOON_S)
        if not making.task.done():
            making.waiting.add(request.user.name)
            again, live = path + query, f"{path}/live{query}"
            return self._shell.answer(
                "report_wait.html.j2", request, names=names, again=again, live=live, says=making.says
            )
        making.waiting.discard(request.user.name)
        made = making.task.result()
        body = Markup(made.html)  # noqa: S704 (made by our own process, which escapes)
        return self._shell.answer("report_page.html.j2", request, title=made.title, body=body, file=file)

    async def _making(self, request: Request, names: Sequence[str], *, whole: bool) -> _Making:
        """Return a report as the caller may see it; it is begun where it is not kept.

        Who waited for one sees it, even if its runs have gone on meanwhile.

        Raises:
            RunError: There is no such run, or it can't be read.
        """
        user = request.user
        coordinator = self._desk.of(user)
        runs = [await self._desk.quickly(partial(coordinator.open, name)) for name in names]
        key, stamp = (user.role, whole, *(run.path for run in runs)), tuple(map(_stamp, runs))
        if key in self._kept and self._kept[key].is_for(user.name, stamp):
            return self._kept[key]
        if list(self._under_way.values()).count(user.name) >= _MOST_EACH:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS, f"{_MOST_EACH} reports of yours are being made: wait for one"
            )
        asked = {"runs": [str(run.path) for run in runs], "role": user.role, "whole": whole}
        self._kept[key] = making = self._begun(asked, stamp, user.name)
        return making

    def _begun(self, asked: dict[str, Any], stamp: tuple[Any, ...], person: str) -> _Making:
        def says(text: str) -> None:
            making.says = text

        def ends(task: "asyncio.Task[Made]") -> None:
            making.ended = task.get_loop().time()
            del self._under_way[task]

        task = asyncio.create_task(self._makers.make(asked, says))
        self._under_way[task] = person
        making = _Making(stamp, task)
        task.add_done_callback(ends)
        return making


async def _progress(making: _Making) -> AsyncIterator[bytes]:
    """Yield what is being done; at its end the page is loaded again."""
    said = ""
    while not making.task.done():
        yield event({"report-now": making.says}) if making.says != said else ALIVE
        said = making.says
        await asyncio.wait({making.task}, timeout=_LOOK_S)
    with suppress(WardroundError, asyncio.CancelledError):
        making.task.result()  # the page that is loaded says what went wrong
    yield event({"over": ""})


def _names(request: Request) -> list[str]:
    """Return the names of the runs that a path or a query asks for.

    Raises:
        HTTPException: They are too few or too many to be compared.
    """
    if "run" in request.path_params:
        return [request.path_params["run"]]
    names = list(dict.fromkeys(request.query_params.getlist("run")))
    if not 2 <= len(names) <= _MOST_RUNS:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"choose two to {_MOST_RUNS} runs to compare")
    return names


def _stamp(run: RunRecord) -> tuple[Any, ...]:
    """Return what changes whenever something happens in a run."""
    found = [(run.path / name).stat() for name in (ABOUT, EVENTS) if (run.path / name).exists()]
    return (run.path, *((one.st_size, one.st_mtime_ns) for one in found))
