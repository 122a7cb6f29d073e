"""Log in with an account of an institution: to its provider, and back."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.audit.trail import AuditTrail
from server.gateway.address_groups import network_of
from server.gateway.people import LogIn, PersonRegistry
from server.oidc.log_ins import LogIns
from server.web.log_in import TokenLogIn
from server.web.shell import LOG_IN, Shell, own_path
from shared.errors import WardroundError
from shared.web.sessions import Sessions

OIDC = f"{LOG_IN}/oidc"
BACK = f"{OIDC}/back"
_COOKIE = "__Host-wardround-oidc"
_LONGEST = 4096


class OidcPages:
    """The way to the provider and back.

    Args:
        shell: Answers.
        sessions: Get the log-ins.
        registry: Knows the tokens.
        trail: The audit log.
        log_ins: With accounts of the provider.
    """

    def __init__(
        self,
        shell: Shell,
        sessions: Sessions[LogIn],
        registry: PersonRegistry,
        *,
        trail: AuditTrail,
        log_ins: LogIns,
    ) -> None:
        self._shell = shell
        self._sessions = sessions
        self._registry = registry
        self._trail = trail
        self._log_ins = log_ins

    def routes(self) -> list[Route]:
        """Return the routes, open to all."""
        return [Route(OIDC, self.go, methods=["GET"]), Route(BACK, self.back, methods=["GET"])]

    async def go(self, request: Request) -> Response:
        """Send a browser to the provider."""
        target = own_path(request.query_params.get("next", "/"))
        try:
            key, url = await self._log_ins.begin(target, network_of(request.scope["client"][0]))
        except WardroundError as error:
            return self._failed(request, error)
        answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
        # Not strict: the browser comes back from another site, and must show it then.
        answer.set_cookie(_COOKIE, key, max_age=600, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    async def back(self, request: Request) -> Response:
        """Take who comes back; a page leads on, as no strict cookie is sent on the way from elsewhere."""
        query = {name: request.query_params.get(name, "")[:_LONGEST] for name in ("state", "code", "error")}
        try:
            token, target = await self._log_ins.finish(request.cookies.get(_COOKIE, ""), **query)
        except WardroundError as error:
            return self._failed(request, error)
        log_in = TokenLogIn(self._registry, token)
        person = log_in.person()
        if person is None:
            raise RuntimeError("a token that was made a moment ago is not valid")
        await self._trail.record(
            "logged-in", person=person.name, role=person.role, address=request.scope["client"][0]
        )
        answer = self._shell.pages.answer("oidc_back.html.j2", request, None, target=target, name=person.name)
        self._sessions.end(request, answer)
        self._sessions.begin(log_in, person.name, answer)
        answer.delete_cookie(_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    def _failed(self, request: Request, error: WardroundError) -> Response:
        problem = f"{error.problem}. {error.remedy}" if error.remedy else error.problem
        return self._shell.pages.answer(
            "log_in.html.j2",
            request,
            None,
            status=HTTPStatus.FORBIDDEN,
            target="/",
            problem=problem[0].upper() + problem[1:],
            account=self._log_ins.title,
        )
