"""Answers of the coordinator's own routes: an error is JSON with a reason and a remedy, of limited length."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.registry.store import BusyError, RefusedError
from server.runs.control import UnknownRunError
from shared.audit.fields import AuditError
from shared.errors import JobError, WardroundError
from shared.text.paths import without_folders

LONGEST_ERROR = 16_000  # characters
Endpoint = Callable[[Request], Awaitable[Response]]

# By the first that fits: most of them are each other's kinds.
_STATUS: dict[type[WardroundError], HTTPStatus] = {
    RefusedError: HTTPStatus.FORBIDDEN,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    AuditError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownRunError: HTTPStatus.NOT_FOUND,
    JobError: HTTPStatus.BAD_REQUEST,
    WardroundError: HTTPStatus.CONFLICT,
}


def status_of_error(error: WardroundError) -> HTTPStatus:
    """Return the status of an answer that says what went wrong."""
    return next(status for kind, status in _STATUS.items() if isinstance(error, kind))


def error_answer(
    status: HTTPStatus | int, error: str, remedy: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the answer for an error; both texts are cut where they are too long, and have no folders."""
    content = {"error": without_folders(error)[:LONGEST_ERROR]}
    if remedy:
        content["remedy"] = without_folders(remedy)[:LONGEST_ERROR]
    return JSONResponse(content, int(status), headers)


def explained(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose errors say what to do, without the paths of this machine."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            reason = error.detail
            if reason == HTTPStatus.FORBIDDEN.phrase:  # all that `requires` says
                reason = f"the role {request.user.role} may not do this"
            return error_answer(error.status_code, reason, headers=dict(error.headers or {}))
        except WardroundError as error:
            return error_answer(status_of_error(error), error.problem, error.remedy)

    return answer
