"""Log-in of a device over the people's listener (RFC 8628): a person confirms it in any browser.

| route | answer |
| --- | --- |
| `POST /v1/oidc/device` | 201: a key, the code to confirm, where, for how long, how often to ask |
| `POST /v1/oidc/token` | `{"key": ...}`: 200 with a token once it is confirmed, 202 before |
"""

from http import HTTPStatus

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.gateway.address_groups import network_of
from server.gateway.answers import explained
from server.gateway.request_body import parse_body
from server.oidc.log_ins import LogIns
from server.oidc.provider import NotYetError
from shared.table import Table


class Asked(Table):
    """Which log-in is asked for."""

    key: str = Field(min_length=20, max_length=100)


class OidcApi:
    """The endpoints.

    Args:
        log_ins: With accounts of the provider.
    """

    def __init__(self, log_ins: LogIns) -> None:
        self._log_ins = log_ins

    def routes(self) -> list[Route]:
        """Return the routes, open to all."""
        return [
            Route("/v1/oidc/device", explained(self.begin), methods=["POST"]),
            Route("/v1/oidc/token", explained(self.ask), methods=["POST"]),
        ]

    async def begin(self, request: Request) -> Response:
        """Begin a log-in."""
        key, code = await self._log_ins.begin_device(network_of(request.scope["client"][0]))
        answer = {
            "key": key,
            "user_code": code.user_code,
            "address": code.address,
            "whole_address": code.whole_address,
            "seconds": code.seconds,
            "interval": code.interval,
        }
        return JSONResponse(answer, HTTPStatus.CREATED)

    async def ask(self, request: Request) -> Response:
        """Give a token for a log-in that is confirmed."""
        asked = await parse_body(request, Asked)
        try:
            token = await self._log_ins.ask_device(asked.key)
        except NotYetError:
            return JSONResponse({"status": "not yet"}, HTTPStatus.ACCEPTED)
        return JSONResponse({"token": token})
