"""One request of a site and its answer, streamed in both directions within the listener's limits."""

from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx
from starlette.types import Receive, Scope, Send

from server.folder.limits import Limits, Pace

# RFC 9110, 7.6.1; `server` and `date` are the listener's own.
NOT_RETURNED = frozenset(
    {
        b"connection",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the program
    """A request that does not pass.

    Args:
        status: Of the answer.
        reason: A few words, for the site and for the audit log.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Disconnected(Exception):  # noqa: N818 - a site may leave at any time
    """The peer closed the connection in the middle of a request."""


class Exchange:
    """The two streams of one request.

    Args:
        scope: ASGI.
        receive: ASGI.
        send: ASGI.
        limits: What it may take.
        most: Size of the body that may come, in bytes.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits, most: int) -> None:
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        self._limits = limits
        self._most = most
        self._answered = False

    def check_head(self) -> None:
        """Look at the headers before the body is read.

        Raises:
            Refusal: They are too long, or announce a body that is, or its length in two ways (RFC 9112, 6.3:
                a sign of request smuggling).
        """
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > self._limits.head_bytes:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large")
        names = [name for name, _ in self._headers]
        if b"content-length" in names and b"transfer-encoding" in names:
            raise Refusal(HTTPStatus.BAD_REQUEST, "a length and a transfer encoding")
        for name, value in self._headers:
            if name == b"content-length" and int(value) > self._most:
                raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")

    @property
    def announced(self) -> int:
        """Bytes of the body as the headers say; 0 where they don't."""
        return max((int(value) for name, value in self._headers if name == b"content-length"), default=0)

    async def body(self) -> AsyncIterator[bytes]:
        """Give the request's body as it comes; nothing is read ahead of whoever takes it.

        Raises:
            Refusal: It is too large or too slow.
            Disconnected: The peer left.
        """
        pace, size = Pace(self._limits), 0
        more = True
        while more:
            try:
                async with pace.wait():
                    message = await self._receive()
            except TimeoutError:
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "the body comes too slowly") from None
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > self._most:
                raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
            pace.passed(len(chunk))
            if chunk:
                yield chunk

    async def answer(self, response: httpx.Response) -> None:
        """Pass an answer on, as it comes where it is not there yet.

        Raises:
            Disconnected: The peer takes it too slowly.
        """
        headers = [(name.lower(), value) for name, value in response.headers.raw]
        await self._start(response.status_code, [item for item in headers if item[0] not in NOT_RETURNED])
        pace = Pace(self._limits)
        try:
            async for chunk in _chunks(response):
                async with pace.wait():
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                pace.passed(len(chunk))
            async with pace.wait():
                await self._send({"type": "http.response.body"})
        except TimeoutError:
            raise Disconnected from None

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal and close the connection, whatever else the peer may send.

        When the answer has begun already, the connection is cut instead.
        """
        if self._answered:
            return
        text = refusal.reason.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"connection", b"close"),
        ]
        await self._start(refusal.status, headers)
        await self._send({"type": "http.response.body", "body": text})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._answered = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    if response.is_closed:
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk
