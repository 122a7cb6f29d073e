"""Log-ins of a browser: kept in memory, of limited life, named by a cookie that no script can read."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starlette.requests import HTTPConnection
from starlette.responses import Response

LIFE_S, IDLE_S = 12 * 3600.0, 3600.0
_MOST, _MOST_EACH = 1000, 20  # in all, and of one person
Owner = TypeVar("Owner")


@dataclass
class Session(Generic[Owner]):
    """One log-in.

    Attributes:
        owner: Whose it is.
        name: Of the person.
        csrf: Stands in every form: who only makes a browser send one doesn't know it.
        started: When it began, in seconds of the clock.
        seen: When it was last used.
        said: What the next page says first.
    """

    owner: Owner
    name: str
    started: float
    seen: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Let the next page say something first."""
        self.said.append(text)

    def take_said(self) -> list[str]:
        """Return what is to be said, once."""
        said, self.said = self.said, []
        return said


class Sessions(Generic[Owner]):
    """The log-ins of one page's users.

    Args:
        cookie: Name of the cookie; with `__Host-` before it where the page has TLS.
        secure: Whether the page has TLS.
        life_s: Seconds after which a log-in ends.
        idle_s: Seconds without a request after which it ends.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        cookie: str,
        *,
        secure: bool,
        life_s: float = LIFE_S,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cookie = cookie
        self._secure = secure
        self._life_s, self._idle_s = life_s, idle_s
        self._clock = clock
        self._sessions: dict[str, Session[Owner]] = {}

    def begin(self, owner: Owner, name: str, response: Response) -> Session[Owner]:
        """Begin a log-in, whose cookie goes with a response.

        Where there are too many, the idlest ends: of a person's their own, so that nobody logs others out.

        Args:
            owner: Whose it is.
            name: Of the person, who may have several owners' log-ins: one for each token.
            response: Gets the cookie.
        """
        self._forget_ended()
        self._make_room([key for key, one in self._sessions.items() if one.name == name], _MOST_EACH)
        self._make_room(list(self._sessions), _MOST)
        key, now = secrets.token_urlsafe(32), self._clock()
        session = self._sessions[key] = Session(owner, name, now, now)
        response.set_cookie(
            self._cookie, key, path="/", secure=self._secure, httponly=True, samesite="strict"
        )
        return session

    def of(self, connection: HTTPConnection) -> Session[Owner] | None:
        """Return the log-in whose cookie came with a request, unless it has ended."""
        session = self._sessions.get(connection.cookies.get(self._cookie, ""))
        if session is None or self._is_over(session):
            return None
        session.seen = self._clock()
        return session

    def end(self, connection: HTTPConnection, response: Response) -> None:
        """End the log-in of a request, and let the browser forget its cookie."""
        self._sessions.pop(connection.cookies.get(self._cookie, ""), None)
        response.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="strict")

    def _make_room(self, keys: list[str], most: int) -> None:
        if len(keys) >= most:
            del self._sessions[min(keys, key=lambda key: self._sessions[key].seen)]

    def _forget_ended(self) -> None:
        for key in [key for key, session in self._sessions.items() if self._is_over(session)]:
            del self._sessions[key]

    def _is_over(self, session: Session[Owner]) -> bool:
        now = self._clock()
        return now > session.started + self._life_s or now > session.seen + self._idle_s
