"""The runs of a coordinator over the people's listener.

| route | role | answer |
| --- | --- | --- |
| `GET /v1/me` | viewer | name and role of the caller |
| `GET /v1/runs` | viewer | the list of runs |
| `POST /v1/runs?project=P` | researcher | 201, the new run's name and its job's digest |
| `GET /v1/runs/RUN` | viewer | its row, job and description |
| `GET /v1/runs/RUN/events?after=N` | viewer | JSON lines, as they happen, after the N-th |
| `POST /v1/runs/RUN/stop`, `/resume` | researcher, for their own runs; operator | 204 |
| `GET /v1/runs/RUN/files` | viewer | names of its files |
| `GET /v1/runs/RUN/files/FILE` | viewer | its content, its SHA-256 in `Repr-Digest` (RFC 9530) |

A person sees the runs of their projects, an operator all; any other run is one that there is not (404).
An error is `{"error": ..., "remedy": ...}`. The audit log has who did what before it is done.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.authentication import requires
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from server.audit.trail import AuditTrail
from server.gateway.answers import error_answer, explained
from server.gateway.request_body import read_body
from server.gateway.visible_runs import AtHand
from server.registry.store import DEFAULT_PROJECT
from server.runs.file_copies import chunks
from server.runs.folder import plain
from server.runs.local import Coordinator
from server.runs.submission import LONGEST_BODY, Refused, validated
from server.runs.watching import Watching
from shared.flower.runs import Runs
from shared.run_folder import RunRecord

SIGN_OF_LIFE = 10.0  # seconds without an event after which an empty line says that the stream is alive
LONGEST_STREAM = 600.0  # seconds; who watches longer comes again, and the token is looked at again
_SLOW, _QUICK = 8, 16  # threads for what takes seconds (starting a run), and for what does not
_SLOW_EACH = 2  # of the former, those that one person may have at once
Answer = TypeVar("Answer")


class RunsApi:
    """The endpoints.

    Args:
        runs: Folder of the run folders.
        connect: Gives a new connection to the SuperLink where it is now.
        trail: The audit log.
        projects: Gives the names of all projects, for operators.
    """

    def __init__(
        self,
        runs: Path,
        connect: Callable[[], Runs],
        trail: AuditTrail,
        projects: Callable[[], Sequence[str]] = lambda: (DEFAULT_PROJECT,),
    ) -> None:
        self._runs = runs
        self._projects = projects
        self._connect = connect
        self._trail = trail
        self._slow, self._quick = CapacityLimiter(_SLOW), CapacityLimiter(_QUICK)
        self._slow_each: dict[str, CapacityLimiter] = {}
        self._watching = Watching(self._quickly)
        self._at_hand = AtHand(self._quickly)

    def routes(self) -> list[BaseRoute]:
        """Return the routes, for behind a token."""
        endpoints = {
            ("GET", "/v1/me"): self.me,
            ("GET", "/v1/runs"): self.list,
            ("POST", "/v1/runs"): self.submit,
            ("GET", "/v1/runs/{run}"): self.look,
            ("GET", "/v1/runs/{run}/events"): self.events,
            ("POST", "/v1/runs/{run}/stop"): self.stop,
            ("POST", "/v1/runs/{run}/resume"): self.resume,
            ("GET", "/v1/runs/{run}/files"): self.files,
            ("GET", "/v1/runs/{run}/files/{file}"): self.file,
        }
        return [
            Route(path, explained(endpoint), methods=[method])
            for (method, path), endpoint in endpoints.items()
        ]

    @requires("viewer")
    async def me(self, request: Request) -> Response:
        """Say who calls."""
        return JSONResponse({"name": request.user.name, "role": request.user.role})

    @requires("viewer")
    async def list(self, request: Request) -> Response:
        """List the runs."""
        rows = await self._quickly(self._coordinator(request).list)
        return JSONResponse([asdict(row) for row in rows])

    @requires("researcher")
    async def submit(self, request: Request) -> Response:
        """Validate a job again, compute its digest here, and start it under the caller's name."""
        body = await read_body(request, LONGEST_BODY)
        job = await self._slowly(request, partial(validated, body))
        if isinstance(job, Refused):
            return error_answer(job.status, job.error, job.remedy)
        user, project = request.user, request.query_params.get("project")
        projects = await self._quickly(self._projects) if _sees_all(request) else user.projects
        coordinator = self._coordinator(request, projects)
        name = await self._slowly(request, partial(coordinator.submit, job, project))
        return JSONResponse({"run": name, "digest": job.digest()}, HTTPStatus.CREATED)

    @requires("viewer")
    async def look(self, request: Request) -> Response:
        """Describe a run."""
        found = await self._quickly(partial(self._coordinator(request).look, request.path_params["run"]))
        job = json.loads(found.job.canonical())
        return JSONResponse({"row": asdict(found.row), "job": job, "description": plain(found.description)})

    @requires("viewer")
    async def events(self, request: Request) -> Response:
        """Stream a run's events; the last line is `{"end": STATUS}` once the run has ended."""
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 12:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "'after' must be a number")
        coordinator = self._coordinator(request)
        run = await self._quickly(partial(coordinator.open, request.path_params["run"]))
        lines = self._lines(coordinator, run, int(after))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @requires("researcher")
    async def stop(self, request: Request) -> Response:
        """Stop a run."""
        return await self._change(request, Coordinator.stop)

    @requires("researcher")
    async def resume(self, request: Request) -> Response:
        """Go on with a run."""
        return await self._change(request, Coordinator.resume)

    @requires("viewer")
    async def files(self, request: Request) -> Response:
        """List the files of a run; the audit log has that they are fetched."""
        coordinator = self._coordinator(request)
        run = await self._quickly(partial(coordinator.open, request.path_params["run"]))
        await self._trail.record(
            "run-fetched", person=request.user.name, run=run.path.name, job=run.job.digest()
        )
        return JSONResponse(await self._quickly(partial(coordinator.file_names, run)))

    @requires("viewer")
    async def file(self, request: Request) -> Response:
        """Give a file of a run: as long as it is now, with the digest of what is sent."""
        coordinator, name = self._coordinator(request), request.path_params["file"]
        run = await self._quickly(partial(coordinator.open, request.path_params["run"]))
        file = await self._quickly(partial(coordinator.open_file, run, name))
        try:
            size, digest = await self._quickly(partial(_measure, file))
        except BaseException:
            file.close()
            raise
        headers = {"content-length": str(size), "repr-digest": f"sha-256=:{digest}:"}
        return StreamingResponse(
            self._content(file, size), media_type="application/octet-stream", headers=headers
        )

    async def _change(self, request: Request, change: Callable[[Coordinator, str], None]) -> Response:
        """Stop or resume a run, if it is the caller's own; operators may do it with every run."""
        coordinator, name = self._coordinator(request), request.path_params["run"]
        found = await self._quickly(partial(coordinator.look, name))
        if request.user.role != "operator" and found.row.researcher != request.user.name:
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "only who submitted a run, and operators, may stop or resume it"
            )
        await self._slowly(request, partial(change, coordinator, name))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _lines(self, coordinator: Coordinator, run: RunRecord, after: int) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        end = clock() + LONGEST_STREAM
        async with aclosing(self._watching.follow(run, after, SIGN_OF_LIFE)) as looks:
            async for lines, ended in looks:
                figures = await self._at_hand.figures(coordinator, run)
                for number, line in lines:
                    event = figures.event(line)
                    yield json.dumps({"number": number, "line": event}).encode() + b"\n"
                if ended is not None:
                    yield json.dumps({"end": ended}).encode() + b"\n"
                elif not lines:
                    yield b"\n"
                if clock() > end:
                    return

    async def _content(self, file: BinaryIO, size: int) -> AsyncIterator[bytes]:
        with file:
            content = chunks(file, size)
            while (chunk := await self._quickly(partial(next, content, b""))) != b"":
                yield chunk

    def _coordinator(self, request: Request, projects: Sequence[str] = ()) -> Coordinator:
        """Return the runs that the caller may see; a new one may belong to one of the projects."""
        user = request.user
        return Coordinator(
            self._runs,
            self._connect,
            partial(self._trail.write, person=user.name),
            user.name,
            projects=projects,
            see=None if _sees_all(request) else user.projects,
            role=user.role,
        )

    async def _quickly(self, work: Callable[[], Answer]) -> Answer:
        return await to_thread.run_sync(work, limiter=self._quick)

    async def _slowly(self, request: Request, work: Callable[[], Answer]) -> Answer:
        """Do what takes seconds; of one person only so much at once, so that nobody keeps others waiting."""
        own = self._slow_each.setdefault(request.user.name, CapacityLimiter(_SLOW_EACH))
        async with own:
            return await to_thread.run_sync(work, limiter=self._slow)


def _sees_all(request: Request) -> bool:
    return bool(request.user.role == "operator")


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return the size of a file in bytes, and the SHA-256 of so many bytes in base64."""
    size = file.seek(0, 2)
    digest = hashlib.sha256()
    for chunk in chunks(file, size):
        digest.update(chunk)
    return size, base64.b64encode(digest.digest()).decode("ascii")
