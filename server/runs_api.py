"""The runs of a coordinator over the people's listener.

| route | role | answer |
| --- | --- | --- |
| `GET /v1/me` | viewer | name and role of the caller |
| `GET /v1/runs` | viewer | the list of runs |
| `POST /v1/runs` | researcher | 201, the new run's name and its job's digest |
| `GET /v1/runs/RUN` | viewer | its row, job and description |
| `GET /v1/runs/RUN/events?after=N` | viewer | JSON lines, as they happen, after the N-th |
| `POST /v1/runs/RUN/stop`, `/resume` | researcher, for their own runs; operator | 204 |
| `GET /v1/runs/RUN/files` | viewer | names of its files |
| `GET /v1/runs/RUN/files/FILE` | viewer | its content, its SHA-256 in `Repr-Digest` (RFC 9530) |

An error is `{"error": ..., "remedy": ...}`. The audit log has who did what before it is done.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
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

from server.answers import error_answer, explained
from server.audit_trail import AuditTrail
from server.bodies import read_body
from server.deploy import Coordinator
from server.event_tail import EventTail
from server.run_files import chunks, file_names, open_file
from server.runs import plain
from server.submission import LONGEST_BODY, Refused, validated
from shared.flower.runs import Runs

LOOK = 0.2  # seconds between looks at what a run has written
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
    """

    def __init__(self, runs: Path, connect: Callable[[], Runs], trail: AuditTrail) -> None:
        self._runs = runs
        self._connect = connect
        self._trail = trail
        self._slow, self._quick = CapacityLimiter(_SLOW), CapacityLimiter(_QUICK)
        self._slow_each: dict[str, CapacityLimiter] = {}

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
        name = await self._slowly(request, partial(self._coordinator(request).submit, job))
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
        run = await self._quickly(partial(self._coordinator(request).open, request.path_params["run"]))
        lines = self._lines(EventTail(run, int(after)))
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
        return JSONResponse(await self._quickly(partial(file_names, run.path)))

    @requires("viewer")
    async def file(self, request: Request) -> Response:
        """Give a file of a run: as long as it is now, with the digest of what is sent."""
        coordinator, name = self._coordinator(request), request.path_params["file"]
        run = await self._quickly(partial(coordinator.open, request.path_params["run"]))
        file = await self._quickly(partial(open_file, run.path, name))
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

    async def _lines(self, tail: EventTail) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        start = told = clock()
        ended = None
        while ended is None:
            if clock() - start > LONGEST_STREAM:
                return
            lines, ended = await self._quickly(tail.read)
            for number, line in lines:
                yield json.dumps({"number": number, "line": line}).encode() + b"\n"
            now = clock()
            if lines:
                told = now
            elif ended is None:
                if now - told > SIGN_OF_LIFE:
                    told = now
                    yield b"\n"
                await asyncio.sleep(LOOK)
        yield json.dumps({"end": ended}).encode() + b"\n"

    async def _content(self, file: BinaryIO, size: int) -> AsyncIterator[bytes]:
        with file:
            content = chunks(file, size)
            while (chunk := await self._quickly(partial(next, content, b""))) != b"":
                yield chunk

    def _coordinator(self, request: Request) -> Coordinator:
        who = request.user.name
        return Coordinator(self._runs, self._connect, partial(self._trail.write, person=who), who)

    async def _quickly(self, work: Callable[[], Answer]) -> Answer:
        return await to_thread.run_sync(work, limiter=self._quick)

    async def _slowly(self, request: Request, work: Callable[[], Answer]) -> Answer:
        """Do what takes seconds; of one person only so much at once, so that nobody keeps others waiting."""
        own = self._slow_each.setdefault(request.user.name, CapacityLimiter(_SLOW_EACH))
        async with own:
            return await to_thread.run_sync(work, limiter=self._slow)


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return the size of a file in bytes, and the SHA-256 of so many bytes in base64."""
    size = file.seek(0, 2)
    digest = hashlib.sha256()
    for chunk in chunks(file, size):
        digest.update(chunk)
    return size, base64.b64encode(digest.digest()).decode("ascii")
