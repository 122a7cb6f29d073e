"""The door of the hospital's page: the log-in that a link opens, forms of ours, what is said to others."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from client.guard.decisions import user_here
from client.web.entry import OneTimeLink
from client.web.jobs import ChangedError
from shared.errors import WardroundError
from shared.web.forms import check_origin, read_form, text_of
from shared.web.pages import Pages
from shared.web.sessions import Session, Sessions

View = Callable[[Request, Session[str]], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class Door:
    """Lets in whoever has the link, and answers them.

    Args:
        pages: Of the hospital.
        link: Opens the page, once.
        cookie: Name of the log-in's cookie.
    """

    def __init__(self, pages: Pages, link: OneTimeLink, cookie: str) -> None:
        self._pages = pages
        self._link = link
        self._sessions: Sessions[str] = Sessions(cookie, secure=False)

    async def enter(self, request: Request) -> Response:
        """Exchange the link for a cookie, once; whoever only looks whether it is there does not use it up."""
        if request.method != "GET" or not self._link.take(request.path_params["token"]):
            raise HTTPException(HTTPStatus.FORBIDDEN, "this link was used already, or is of another start")
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        self._sessions.begin(user_here(), user_here(), answer)
        return answer

    async def leave(self, request: Request) -> Response:
        """End the log-in."""
        await self.form(request)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        self._sessions.end(request, answer)
        return answer

    async def form(self, request: Request) -> tuple[Session[str], Mapping[str, str]]:
        """Return the log-in and the fields of a form of ours.

        Raises:
            HTTPException: Nobody is logged in, or the form comes from elsewhere.
        """
        check_origin(request)
        session = self._session(request)
        form = await read_form(request, session)
        return session, {name: text_of(form, name) for name in form}

    def shown(self, view: View) -> Endpoint:
        """Return an endpoint that asks for the log-in, and reads files beside the event loop."""

        async def answer(request: Request) -> Response:
            session = self._session(request)
            return await run_in_threadpool(view, request, session)

        return answer

    def answer(self, template: str, request: Request, session: Session[str], **content: Any) -> Response:
        """Return a page."""
        return self._pages.answer(template, request, session, who=session.owner, **content)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Say why a request was refused."""
        assert isinstance(error, HTTPException)  # noqa: S101 (registered for it)
        return self._problem(request, error.detail, "", error.status_code)

    async def failed(self, request: Request, error: Exception) -> Response:
        """Say what a person can put right."""
        assert isinstance(error, WardroundError)  # noqa: S101 (registered for it)
        status = HTTPStatus.CONFLICT if isinstance(error, ChangedError) else HTTPStatus.UNPROCESSABLE_ENTITY
        what = f"{error.where}: {error.problem}" if error.where else error.problem
        return self._problem(request, what, error.remedy or "", status)

    def _session(self, request: Request) -> Session[str]:
        session = self._sessions.of(request)
        if session is None:
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "nobody is logged in here")
        return session

    def _problem(self, request: Request, what: str, remedy: str, status: int) -> Response:
        session = self._sessions.of(request)
        who = session.owner if session else ""
        said = {"what": what, "remedy": remedy}
        return self._pages.answer("problem.html.j2", request, session, who=who, status=status, **said)
