"""Who may open the hospital's page: who has the link of the terminal, once, and sits at this machine."""

import secrets
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.wire.address import calls_this_machine


class OneTimeLink:
    """A word that opens the page once; it is kept in memory alone."""

    def __init__(self) -> None:
        self._token: str | None = secrets.token_urlsafe(32)

    @property
    def path(self) -> str:
        """Path of the link; ends with nothing once it was used."""
        return f"/enter/{self._token or ''}"

    def take(self, token: str) -> bool:
        """Say whether a token opens the page; the first that does is the last."""
        if self._token is None or not secrets.compare_digest(token.encode(), self._token.encode()):
            return False
        self._token = None
        return True


class OwnHost:
    """Lets requests through that call this machine by its own name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "http" and not calls_this_machine(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("this is not the page's name", HTTPStatus.MISDIRECTED_REQUEST)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
