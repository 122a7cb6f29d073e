"""Limits for requests that a Starlette application answers itself."""

import asyncio
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.folder.limits import Limits
from server.gateway.exchange import Disconnected, Exchange, Refusal


class Bounded:
    """Keeps the bodies of requests and answers within the listener's limits."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it when its body is too large or too slow."""
        exchange = Exchange(scope, receive, send, self._limits, self._limits.body_bytes)
        try:
            exchange.check_head()
        except Refusal as refusal:
            await exchange.refuse(refusal)
            return
        chunks = exchange.body()
        ended = False

        async def bounded() -> Message:
            nonlocal ended
            if ended:
                return await receive()  # whether the peer is still there
            try:
                chunk = await anext(chunks, None)
            except Refusal as refusal:
                raise HTTPException(refusal.status, refusal.reason, {"connection": "close"}) from None
            except Disconnected:
                return {"type": "http.disconnect"}
            ended = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": not ended}

        async def timed(message: Message) -> None:
            """Give up a peer that does not take the answer."""
            try:
                async with asyncio.timeout(self._limits.idle_s):
                    await send(message)
            except TimeoutError:
                raise Disconnected from None

        with suppress(Disconnected, ClientDisconnect):
            await self._app(scope, bounded, timed)
