"""Counts that sites tell, and people ask for before there is a job.

`POST /v1/counts` and `POST /v1/counts/withdraw` are the sites'. `GET /v1/counts` gives a person all that the
sites of their projects have told; questions are answered from it on their own machine.
"""

from functools import partial
from pathlib import Path

from starlette.authentication import requires
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.audit.trail import AuditTrail
from server.gateway.answers import explained
from server.gateway.request_body import parse_body
from server.registry.people import People
from server.registry.told_counts import ToldBook
from shared.table import Name, Table
from shared.wire.counts import COUNTS, WITHDRAW, ToldCounts

_LONGEST = 256 * 1024  # bytes


class WithdrawBody(Table):
    """What a site sends to take counts back."""

    dataset: Name


class CountsApi:
    """The endpoints.

    Args:
        folder: The coordinator's.
        people: Knows which sites belong to a project.
        trail: Told when counts come.
    """

    def __init__(self, folder: Path, people: People, trail: AuditTrail) -> None:
        self._book = ToldBook(folder)
        self._people = people
        self._trail = trail

    def site_routes(self) -> list[Route]:
        """Return the routes of the sites' listener."""
        return [
            Route(COUNTS, explained(self.take), methods=["POST"]),
            Route(WITHDRAW, explained(self.withdraw), methods=["POST"]),
        ]

    def people_routes(self) -> list[Route]:
        """Return the routes of the people's listener."""
        return [Route(COUNTS, explained(self.give), methods=["GET"])]

    async def take(self, request: Request) -> Response:
        """Keep what a site tells; 204, 400, 403, 413."""
        counts = await parse_body(request, ToldCounts, _LONGEST)
        site = request.scope["state"]["site"]
        await self._trail.record("counts-told", site=site, dataset=counts.dataset)
        await run_in_threadpool(partial(self._book.put, site, counts))
        return Response(status_code=204)

    async def withdraw(self, request: Request) -> Response:
        """Forget what a site told; 204, 400."""
        asked = await parse_body(request, WithdrawBody)
        site = request.scope["state"]["site"]
        await self._trail.record("counts-withdrawn", site=site, dataset=asked.dataset)
        await run_in_threadpool(partial(self._book.withdraw, site, asked.dataset))
        return Response(status_code=204)

    @requires("viewer")
    async def give(self, request: Request) -> Response:
        """Give what the caller may see."""
        user = request.user
        found = await run_in_threadpool(self._book.seen_by, user.role, user.projects, self._people)
        return JSONResponse(
            [{"site": one.site, "counts": one.counts.model_dump(mode="json")} for one in found]
        )
