"""Submit a job: a file is dropped, read and explained; then it is submitted, or not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.gateway.run_desk import RunDesk
from server.report.facts import Outcome
from server.report.tables import shown_metrics
from server.report.words import asked
from server.runs.submission import Refused, checked, validated
from server.web.run_view import kind_of, name_of
from server.web.shell import Shell
from shared.job.bounds import LONGEST_JOB
from shared.job.schema import JobSpec
from shared.text.phrase import phrase
from shared.web.forms import text_of
from shared.web.tables import Table, TableCell

_LONGEST_REHEARSAL = 2**19  # bytes


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal's `run.json` says of a job, or why it is of no use here."""

    problem: str = ""
    table: Table | None = None


class SubmitPages:
    """The pages on which a job is submitted.

    Args:
        shell: Answers.
        desk: Starts runs.
    """

    def __init__(self, shell: Shell, desk: RunDesk) -> None:
        self._shell = shell
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        route = partial(self._shell.route, role="researcher")
        return [
            route("/submit", self.ask),
            route("/submit", self.check, method="POST"),
            route("/submit/start", self.start, method="POST"),
        ]

    async def ask(self, request: Request) -> Response:
        """Ask for a job file."""
        return await self._page(request)

    async def check(self, request: Request) -> Response:
        """Read a job file and say what it asks for, or what is wrong with it."""
        form = await self._shell.form(request)
        content = await _content(form.get("job"), LONGEST_JOB)
        rehearsal = await _content(form.get("rehearsal"), _LONGEST_REHEARSAL)
        project = text_of(form, "project")
        if not content:
            return await self._page(request, problem="Choose a job file.", project=project)
        job = await self._desk.slowly(request.user, partial(checked, content))
        if isinstance(job, Refused):
            return await self._page(request, problem=job.error, remedy=job.remedy or "", project=project)
        rows = await self._desk.quickly(self._desk.of(request.user).list)
        return self._shell.answer(
            "submit_check.html.j2",
            request,
            job=job,
            digest=job.digest(),
            phrase=phrase(job.digest()),
            canonical=job.canonical(),
            asked=asked(job),
            project=project,
            rehearsal=_rehearsal_of(job, rehearsal) if rehearsal else None,
            earlier=[row for row in rows if row.name.startswith(f"{job.job.name}-")][:3],
            kind_of=kind_of,
        )

    async def start(self, request: Request) -> Response:
        """Submit the job that was explained: the one of this digest."""
        form = await self._shell.form(request)
        try:
            body = json.dumps({"job": json.loads(text_of(form, "job")), "digest": text_of(form, "digest")})
        except (ValueError, RecursionError):
            raise HTTPException(400, "the job is not understood") from None
        job = await self._desk.slowly(request.user, partial(validated, body.encode()))
        if isinstance(job, Refused):
            return await self._page(request, problem=job.error, remedy=job.remedy or "")
        name = await self._desk.submit(request.user, job, text_of(form, "project") or None)
        return self._shell.to(request, f"/runs/{name}", f"{name} is submitted; it begins once there is room.")

    async def _page(
        self, request: Request, *, problem: str = "", remedy: str = "", project: str = ""
    ) -> Response:
        projects: Sequence[str] = await self._desk.projects_of(request.user)
        return self._shell.answer(
            "submit.html.j2", request, projects=projects, project=project, problem=problem, remedy=remedy
        )


async def _content(field: Any, most: int) -> bytes:
    """Return the content of a file that came with a form; nothing where none did.

    Raises:
        HTTPException: 413, it is too long.
    """
    if not isinstance(field, UploadFile):
        return b""
    content = await field.read(most + 1)
    if len(content) > most:
        raise HTTPException(413, f"{field.filename or 'the file'} is too long: at most {most // 1024} KiB")
    return content


def _rehearsal_of(job: JobSpec, content: bytes) -> Rehearsal:
    try:
        about = json.loads(content)
        if about["digest"] != job.digest():
            return Rehearsal(f"is of another job: its digest begins with {str(about['digest'])[:12]}")
        outcome = Outcome(job, about)
        rows: list[list[TableCell]] = [[name_of(name), outcome.estimate(name)] for name in shown_metrics(job)]
        title = f"What came out of the rehearsal, {outcome.test_patients() or '–'} test patients"
        return Rehearsal(table=Table("rehearsal", title, ("metric", "the model"), rows))
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError):
        return Rehearsal("is not the run.json of a rehearsal")
