"""Reports and comparisons of runs, made by a process of their own and kept while nothing has changed."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.gateway.run_desk import RunDesk
from server.web.drawing import process_environment
from server.web.shell import Shell
from shared.errors import RunError
from shared.recent import Recent
from shared.run_folder import ABOUT, EVENTS, RunRecord

_AT_ONCE = 2  # each has PyTorch in memory
_DEADLINE_S = 120.0
_KEPT = 16
_MOST_RUNS = 8


@dataclass(frozen=True)
class Made:
    """A report: its title, and HTML."""

    title: str
    html: str


class ReportPages:
    """Reports as pages, and as files to keep.

    Args:
        shell: Answers.
        desk: Gives the runs that a person may see.
    """

    def __init__(self, shell: Shell, desk: RunDesk) -> None:
        self._shell = shell
        self._desk = desk
        self._turns = CapacityLimiter(_AT_ONCE)
        self._turn_each: dict[str, CapacityLimiter] = {}
        self._kept: Recent[tuple[Any, ...], Made] = Recent(_KEPT)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            self._shell.route("/runs/{run}/report", self.report),
            self._shell.route("/runs/{run}/report.html", self.file),
            self._shell.route("/compare", self.compare),
        ]

    async def report(self, request: Request) -> Response:
        """Show the report of a run."""
        name = request.path_params["run"]
        made = await self._make(request, [name], whole=False)
        return self._page(request, made, f"/runs/{name}/report.html")

    async def file(self, request: Request) -> Response:
        """Give the report of a run as a file that needs nothing beside it."""
        name = request.path_params["run"]
        made = await self._make(request, [name], whole=True)
        headers = {"content-disposition": f'attachment; filename="{name}.html"'}
        return Response(made.html, media_type="text/html", headers=headers)

    async def compare(self, request: Request) -> Response:
        """Show runs side by side."""
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        if not 2 <= len(names) <= _MOST_RUNS:
            raise HTTPException(400, f"choose two to {_MOST_RUNS} runs to compare")
        return self._page(request, await self._make(request, names, whole=False))

    def _page(self, request: Request, made: Made, file: str = "") -> Response:
        body = Markup(made.html)  # noqa: S704 (made by our own process, which escapes)
        return self._shell.answer("report_page.html.j2", request, title=made.title, body=body, file=file)

    async def _make(self, request: Request, names: Sequence[str], *, whole: bool) -> Made:
        """Return a report as the caller may see it.

        Raises:
            RunError: There is no such run, or it can't be read.
        """
        coordinator = self._desk.of(request.user)
        runs = [await self._desk.quickly(partial(coordinator.open, name)) for name in names]
        key = (request.user.role, whole, *map(_stamp, runs))
        if key not in self._kept:
            asked = {"runs": [str(run.path) for run in runs], "role": request.user.role, "whole": whole}
            own = self._turn_each.setdefault(request.user.name, CapacityLimiter(1))
            async with own, self._turns:
                self._kept[key] = await _made(asked)
        return self._kept[key]


async def _made(asked: dict[str, Any]) -> Made:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "server.web.report_process",
        stdin=pipe, stdout=pipe, env=process_environment(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(_DEADLINE_S):
            content, _ = await process.communicate(json.dumps(asked).encode())
        answer = json.loads(content)
    except (TimeoutError, ValueError):
        raise RunError("the report could not be made", remedy="The coordinator's log says why.") from None
    finally:
        if process.returncode is None:
            process.kill()
    if "error" in answer:
        raise RunError(answer["error"], remedy=answer["remedy"] or None)
    return Made(answer["title"], answer["html"])


def _stamp(run: RunRecord) -> tuple[Any, ...]:
    """Return what changes whenever something happens in a run."""
    found = [(run.path / name).stat() for name in (ABOUT, EVENTS) if (run.path / name).exists()]
    return (run.path, *((one.st_size, one.st_mtime_ns) for one in found))
