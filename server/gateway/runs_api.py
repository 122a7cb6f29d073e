"""The runs of a coordinator over the people's listener.

| route | role | answer |
| --- | --- | --- |
| `GET /v1/me` | viewer | name and role of the caller |
| `GET /v1/runs` | viewer | the list of runs |
| `POST /v1/runs?project=P&priority=low` | researcher | 201, the new run's name and its job's digest |
| `GET /v1/runs/RUN` | viewer | its row, job and description |
| `GET /v1/runs/RUN/events?after=N` | viewer | JSON lines, as they happen, after the N-th |
| `POST /v1/runs/RUN/stop`, `/resume` | researcher, for their own runs; operator | 204 |
| `DELETE /v1/runs/RUN` | researcher, for their own runs; operator | 204: the run, which has ended, is gone |
| `GET /v1/runs/RUN/files` | viewer | names of its files |
| `GET /v1/runs/RUN/files/FILE` | viewer | its content, its SHA-256 in `Repr-Digest` (RFC 9530) |

A person sees the runs of their projects, an operator all; any other run is one that there is not (404).
An error is `{"error": ..., "remedy": ...}`. The audit log has who did what before it is done.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import BinaryIO

from starlette.authentication import requires
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from server.gateway.answers import error_answer, explained
from server.gateway.request_body import read_body
from server.gateway.run_desk import LONGEST_STREAM, Change, RunDesk
from server.runs.control import PRIORITIES, is_priority
from server.runs.file_copies import chunks
from server.runs.folder import plain
from server.runs.local import Coordinator
from server.runs.submission import LONGEST_BODY, Refused, validated
from shared.run_folder import RunRecord


class RunsApi:
    """The endpoints.

    Args:
        desk: Does what they ask for.
    """

    def __init__(self, desk: RunDesk) -> None:
        self._desk = desk

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
            ("DELETE", "/v1/runs/{run}"): self.remove,
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
        rows = await self._desk.quickly(self._desk.of(request.user).list)
        return JSONResponse([asdict(row) for row in rows])

    @requires("researcher")
    async def submit(self, request: Request) -> Response:
        """Validate a job again, compute its digest here, and put it into the queue as the caller's."""
        body = await read_body(request, LONGEST_BODY)
        job = await self._desk.slowly(request.user, partial(validated, body))
        if isinstance(job, Refused):
            return error_answer(job.status, job.error, job.remedy)
        priority = request.query_params.get("priority", "normal")
        if not is_priority(priority):
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"'priority' is one of {', '.join(PRIORITIES)}")
        name = await self._desk.submit(request.user, job, request.query_params.get("project"), priority)
        return JSONResponse({"run": name, "digest": job.digest()}, HTTPStatus.CREATED)

    @requires("viewer")
    async def look(self, request: Request) -> Response:
        """Describe a run."""
        found = await self._desk.quickly(
            partial(self._desk.of(request.user).look, request.path_params["run"])
        )
        job = json.loads(found.job.canonical())
        return JSONResponse({"row": asdict(found.row), "job": job, "description": plain(found.description)})

    @requires("viewer")
    async def events(self, request: Request) -> Response:
        """Stream a run's events; the last line is `{"end": STATUS}` once the run has ended."""
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 12:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "'after' must be a number")
        coordinator = self._desk.of(request.user)
        run = await self._desk.quickly(partial(coordinator.open, request.path_params["run"]))
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

    @requires("researcher")
    async def remove(self, request: Request) -> Response:
        """Remove a run that has ended."""
        return await self._change(request, Coordinator.remove)

    @requires("viewer")
    async def files(self, request: Request) -> Response:
        """List the files of a run; the audit log has that they are fetched."""
        coordinator = self._desk.of(request.user)
        run = await self._desk.quickly(partial(coordinator.open, request.path_params["run"]))
        await self._desk.trail.record(
            "run-fetched", person=request.user.name, run=run.path.name, job=run.job.digest()
        )
        return JSONResponse(await self._desk.quickly(partial(coordinator.file_names, run)))

    @requires("viewer")
    async def file(self, request: Request) -> Response:
        """Give a file of a run: as long as it is now, with the digest of what is sent."""
        coordinator, name = self._desk.of(request.user), request.path_params["file"]
        run = await self._desk.quickly(partial(coordinator.open, request.path_params["run"]))
        file = await self._desk.quickly(partial(coordinator.open_file, run, name))
        try:
            size, digest = await self._desk.quickly(partial(_measure, file))
        except BaseException:
            file.close()
            raise
        headers = {"content-length": str(size), "repr-digest": f"sha-256=:{digest}:"}
        return StreamingResponse(
            self._content(file, size), media_type="application/octet-stream", headers=headers
        )

    async def _change(self, request: Request, change: Change) -> Response:
        await self._desk.change(request.user, request.path_params["run"], change)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _lines(self, coordinator: Coordinator, run: RunRecord, after: int) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        end = clock() + LONGEST_STREAM
        async with aclosing(self._desk.follow(run, after)) as looks:
            async for lines, ended in looks:
                figures = await self._desk.figures(coordinator, run)
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
            while (chunk := await self._desk.quickly(partial(next, content, b""))) != b"":
                yield chunk


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return the size of a file in bytes, and the SHA-256 of its bytes in base64."""
    size = file.seek(0, 2)
    digest = hashlib.sha256()
    for chunk in chunks(file, size):
        digest.update(chunk)
    return size, base64.b64encode(digest.digest()).decode("ascii")
