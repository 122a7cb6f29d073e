"""Log in with a token, which the browser does not keep: it gets a cookie, and the log-in ends by itself."""

from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.audit.trail import AuditTrail
from server.gateway.people import LogIn, Person, PersonRegistry
from server.web.shell import LOG_IN, Shell, own_path
from shared.web.forms import read_form, text_of
from shared.web.sessions import Sessions

LOG_OUT = "/log-out"
_LONGEST_TOKEN = 200


@dataclass(frozen=True)
class TokenLogIn:
    """A log-in that holds as long as its token does."""

    registry: PersonRegistry
    token: str = field(repr=False)

    def person(self) -> Person | None:
        """Return whose it is, unless the token has ended."""
        return self.registry.person_of(self.token)


class LogInPages:
    """Log in and out.

    Args:
        shell: Answers.
        sessions: Get the log-ins.
        registry: Knows the tokens.
        trail: The audit log.
        account: What accounts of an institution are called, where one can log in with them.
    """

    def __init__(
        self,
        shell: Shell,
        sessions: Sessions[LogIn],
        registry: PersonRegistry,
        *,
        trail: AuditTrail,
        account: str = "",
    ) -> None:
        self._account = account
        self._shell = shell
        self._sessions = sessions
        self._registry = registry
        self._trail = trail

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(LOG_IN, self.ask, methods=["GET"]),
            Route(LOG_IN, self.enter, methods=["POST"]),
            self._shell.route(LOG_OUT, self.leave, method="POST"),
        ]

    async def ask(self, request: Request) -> Response:
        """Ask for a token."""
        return self._page(request, own_path(request.query_params.get("next", "/")))

    async def enter(self, request: Request) -> Response:
        """Begin a log-in, or say that the token is not valid; that counts as a failure (see `Watch`)."""
        try:
            form = await read_form(request, None)
        except HTTPException as error:
            return self._page(request, "/", error.detail, error.status_code)
        token, target = text_of(form, "token")[:_LONGEST_TOKEN], own_path(text_of(form, "next"))
        log_in = TokenLogIn(self._registry, token)
        person = log_in.person()
        if person is None:
            problem = "This token is not valid, or not any more. The operator makes a new one."
            return self._page(request, target, problem, HTTPStatus.UNAUTHORIZED)
        await self._trail.record(
            "logged-in", person=person.name, role=person.role, address=request.scope["client"][0]
        )
        answer = RedirectResponse(target, HTTPStatus.SEE_OTHER)
        self._sessions.end(request, answer)  # nobody's earlier log-in goes on under a new name
        self._sessions.begin(log_in, person.name, answer)
        return answer

    async def leave(self, request: Request) -> Response:
        """End a log-in."""
        await self._shell.form(request)
        await self._trail.record("logged-out", person=request.user.name)
        answer = RedirectResponse(LOG_IN, HTTPStatus.SEE_OTHER)
        self._sessions.end(request, answer)
        return answer

    def _page(
        self, request: Request, target: str, problem: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        return self._shell.pages.answer(
            "log_in.html.j2",
            request,
            None,
            status=status,
            target=target,
            problem=problem,
            account=self._account,
        )
