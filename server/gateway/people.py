"""What a person can reach: routes behind a token or a log-in, with a role, and a few that need neither.

The routes themselves come from other parts. An endpoint that asks for more than the role `viewer` says so
with Starlette's `@requires("researcher")` or `@requires("operator")`; `request.user` is the person.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Literal, Protocol

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    UnauthenticatedUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.audit.trail import AuditTrail
from server.folder.limits import Limits
from server.gateway.address_groups import network_of
from server.gateway.request_limits import Bounded
from shared.web.headers import SecureHeaders
from shared.web.sessions import Session, Sessions

Role = Literal["viewer", "researcher", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "researcher", "operator")  # each may do what those before it may
API, HEALTH = "/v1/", "/v1/health"
FILES = "/static"
"""Below it lie the style and the script of the pages, which hold nothing of anybody's."""
FAILURES, FAILURES_S = 10, 60.0  # log-ins that may fail, and the time after which they are forgotten
PENALTY_S = 1.0  # for which calls without a valid token wait at an address where more have failed
ADDRESSES = 10_000


class Person(Protocol):
    """A person as the registry knows them."""

    @property
    def name(self) -> str:
        """Name of the person."""

    @property
    def role(self) -> Role:
        """What the person may do."""

    @property
    def projects(self) -> Sequence[str]:
        """Where the person belongs."""


class PersonRegistry(Protocol):
    """The part of `server.registry.enrolment.Registry` that knows tokens."""

    def person_of(self, token: str) -> Person | None:
        """Return whose token it is, if it is valid now."""


class LogIn(Protocol):
    """What a browser's log-in stands for."""

    def person(self) -> Person | None:
        """Return whose it is, as the registry knows them now; None where it has ended."""


class Caller(BaseUser):
    """The person who calls; `request.user` in an endpoint.

    Attributes:
        session: The log-in of the browser that calls; None where a token came with the call itself.
    """

    def __init__(self, person: Person, session: Session[LogIn] | None = None) -> None:
        self.session = session
        self.name = person.name
        self.role = person.role
        self.projects = person.projects

    @property
    def is_authenticated(self) -> bool:
        """Always: this person has shown a token."""
        return True

    @property
    def display_name(self) -> str:
        """Name of the person."""
        return self.name


class Tokens(AuthenticationBackend):
    """Finds who calls by the bearer token (RFC 6750); on pages, by the cookie of a log-in.

    A browser sends a cookie whoever made it call. So it counts for pages alone, whose forms are checked.
    """

    def __init__(self, registry: PersonRegistry, sessions: Sessions[LogIn] | None) -> None:
        self._registry = registry
        self._sessions = sessions

    def caller(self, conn: HTTPConnection) -> Caller | None:
        """Return who calls, None without a token; it is looked up once for a request.

        Raises:
            AuthenticationError: There is a token, but nobody's.
        """
        state = conn.scope.setdefault("state", {})
        if "caller" not in state:
            header = conn.headers.get("authorization")
            state["caller"] = self._by_cookie(conn) if header is None else self._by_token(header)
        found = state["caller"]
        if isinstance(found, AuthenticationError):
            raise found
        return found

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the caller with the roles they have; raises as `caller`."""
        caller = self.caller(conn)
        if caller is None:
            return None
        return AuthCredentials(ROLES[: ROLES.index(caller.role) + 1]), caller

    def _by_token(self, header: str) -> Caller | AuthenticationError:
        scheme, _, token = header.partition(" ")
        person = self._registry.person_of(token.strip()) if scheme.lower() == "bearer" else None
        if person is None:
            return AuthenticationError("this token is not valid, or not any more")
        return Caller(person)

    def _by_cookie(self, conn: HTTPConnection) -> Caller | None:
        if self._sessions is None or conn.url.path.startswith(API):
            return None
        session = self._sessions.of(conn)
        person = session.owner.person() if session else None
        return Caller(person, session) if person else None


class Failures:
    """Counts failed log-ins by address; IPv6 by network, because one host has 2⁶⁴ of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Note a failure."""
        key = network_of(address)
        count, ends = self._current(key)
        self._counts[key] = (count + 1, ends)
        self._counts.move_to_end(key)
        if len(self._counts) > ADDRESSES:
            self._counts.popitem(last=False)

    def wait(self, address: str) -> float:
        """Return the seconds that an address must wait before it may try again; 0 is at once."""
        count, ends = self._current(network_of(address))
        return ends - self._clock() if count >= FAILURES else 0.0

    def _current(self, key: str) -> tuple[int, float]:
        now = self._clock()
        count, ends = self._counts.get(key, (0, 0.0))
        return (count, ends) if now < ends else (0, now + FAILURES_S)


class Watch:
    """Writes an audit entry for every call before its answer leaves, and slows down guessing.

    Who has a valid token is served, whatever others have done from the same address; so is the health route.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        trail: AuditTrail,
        failures: Failures,
        public: Sequence[BaseRoute],
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._trail = trail
        self._failures = failures
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call; slowly, or not at all, when it has no valid token and many of its address failed."""
        address = scope["client"][0]
        is_known = self._meet(scope)
        wait = 0.0 if is_known or scope["path"] == HEALTH else self._failures.wait(address)
        if wait:
            self._trail.refused("log-in-blocked", address)
            await asyncio.sleep(PENALTY_S)
            if not any(route.matches(scope)[0] == Match.FULL for route in self._public):
                headers = {"retry-after": str(int(wait) + 1), "connection": "close"}
                answer = Response("too many failed log-ins", HTTPStatus.TOO_MANY_REQUESTS, headers)
                await answer(scope, receive, send)
                return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, address, message["status"])
            await send(message)

        await self._app(scope, receive, watched)

    def _meet(self, scope: Scope) -> bool:
        """Look at a call's token, tell the listener whose connection it is, and say if it is anybody's."""
        try:
            caller = self._tokens.caller(HTTPConnection(scope))
        except AuthenticationError:
            caller = None
        if claim := scope["state"].get("claim"):
            claim(caller and caller.name)
        return caller is not None

    async def _note(self, scope: Scope, address: str, status: int) -> None:
        if scope["path"] == HEALTH or scope["path"].startswith(f"{FILES}/"):
            return
        call = {"method": scope["method"], "path": scope["path"][:200], "status": str(status)}
        user = scope.get("user")
        if isinstance(user, Caller):
            await self._trail.record("call", person=user.name, role=user.role, address=address, **call)
        elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._failures.add(address)
            self._trail.refused("log-in-failed", address, **call)
        else:
            self._trail.refused("call-without-log-in", address, **call)


class LoggedIn:
    """Lets nobody through who has not shown a valid token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or ask for a token."""
        if isinstance(scope["user"], UnauthenticatedUser):
            await _unauthorized("a token is needed")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _unauthorized(reason: str) -> Response:
    headers = {"www-authenticate": "Bearer", "connection": "close"}
    return Response(reason, HTTPStatus.UNAUTHORIZED, headers)


def build_people_app(
    registry: PersonRegistry,
    trail: AuditTrail,
    limits: Limits,
    healthy: Callable[[], bool],
    *,
    routes: Sequence[BaseRoute] = (),
    public: Sequence[BaseRoute] = (),
    sessions: Sessions[LogIn] | None = None,
) -> Starlette:
    """Return the application behind the people's listener.

    Args:
        registry: Knows the tokens.
        trail: Told of every call, but for those of the health route.
        limits: What a request may take.
        healthy: Whether the SuperLink serves; for `GET /v1/health`, 200 or 503.
        routes: Routes that need a valid token.
        public: Routes that need none, such as the enrolment of a site with its invitation, or say themselves
            who may come, as pages do. Answers with status 401 and 403 count as failed log-ins; after too
            many, these routes answer slowly.
        sessions: The log-ins of browsers; they count for these routes alone.
    """

    async def health(_: Request) -> JSONResponse:
        up = healthy()
        status = HTTPStatus.OK if up else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"status": "ok" if up else "starting"}, status)

    def refused(_: HTTPConnection, error: AuthenticationError) -> Response:
        return _unauthorized(str(error))

    tokens = Tokens(registry, sessions)
    return Starlette(
        routes=[
            Route(HEALTH, health),
            *public,
            Mount("/", routes=list(routes), middleware=[Middleware(LoggedIn)]),
        ],
        middleware=[
            Middleware(SecureHeaders),
            Middleware(Watch, tokens=tokens, trail=trail, failures=Failures(), public=public),
            Middleware(Bounded, limits=limits),
            Middleware(AuthenticationMiddleware, backend=tokens, on_error=refused),
        ],
    )
