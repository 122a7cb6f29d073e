"""What every page of the coordinator goes through: who may see it, and errors that say what to do."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.gateway.answers import status_of_error
from server.gateway.people import ROLES, Caller, Role
from shared.errors import WardroundError
from shared.text.printable import printable
from shared.web.forms import read_form
from shared.web.pages import Pages

LOG_IN = "/log-in"
Endpoint = Callable[[Request], Awaitable[Response]]


class Shell:
    """Answers with pages, to those who are logged in.

    Args:
        pages: The look.
    """

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def route(self, path: str, endpoint: Endpoint, *, method: str = "GET", role: Role = "viewer") -> Route:
        """Return the route of a page for people of a role, or above it."""

        async def answer(request: Request) -> Response:
            user = request.user
            if not isinstance(user, Caller) or user.session is None:
                return _to_log_in(request)
            if ROLES.index(user.role) < ROLES.index(role):
                return self._error(request, HTTPStatus.FORBIDDEN, f"the role {user.role} may not do this")
            try:
                return await endpoint(request)
            except HTTPException as error:
                return self._error(request, error.status_code, error.detail)
            except WardroundError as error:
                return self._error(request, status_of_error(error), error.problem, error.remedy or "")

        return Route(path, answer, methods=[method])

    def answer(self, template: str, request: Request, **content: Any) -> Response:
        """Return a page."""
        user: Caller = request.user
        return self.pages.answer(template, request, user.session, who=user.name, role=user.role, **content)

    async def form(self, request: Request) -> FormData:
        """Return the fields of a form of ours; raises as `read_form`."""
        return await read_form(request, request.user.session)

    def to(self, request: Request, path: str, said: str = "") -> Response:
        """Lead to another page, which says something first."""
        if said:
            request.user.session.say(said)
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)

    def _error(self, request: Request, status: int, problem: str, remedy: str = "") -> Response:
        title = HTTPStatus(status).phrase.capitalize()
        return self.answer(
            "error.html.j2", request, status=status, title=title, problem=problem, remedy=remedy
        )


def _to_log_in(request: Request) -> Response:
    """Ask who comes to log in; what a form held is lost."""
    path = request.url.path if request.method == "GET" else "/"
    query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
    target = f"{LOG_IN}?next={quote(path + query, safe='')}" if path != "/" else LOG_IN
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


def own_path(text: str) -> str:
    """Return a path on this host, as a link or a form gave it; the first page where it leads elsewhere."""
    try:
        is_elsewhere = bool(urlsplit(text).netloc)
    except ValueError:  # no address at all, such as //[
        return "/"
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and not is_elsewhere
    return text if is_own and printable(text) == text and "\\" not in text else "/"
