"""What the gateway mounts so that sites can join and renew their certificates over the network.

`GET /v1/authority` gives the authority's certificate, which a site compares with the fingerprint that it was
given before it sends anything. `POST /v1/enrol` takes a token and a request. `POST /v1/renew` takes a current
certificate, a request and the current key's signature of it, so it is safe on either listener. Both give the
authority's certificate beside the site's: a site takes a newer one of the same key for the one that it has.
"""

import base64
from collections.abc import Callable
from typing import Annotated

from cryptography import x509
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from server.gateway.answers import explained
from server.gateway.request_body import parse_body
from server.registry.enrolment import Registry
from shared.pki.authority import Signatory
from shared.pki.certificates import pem_of
from shared.table import Table

Pem = Annotated[str, Field(max_length=8192)]


class EnrolBody(Table):
    """What a site sends to join."""

    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{20,100}$")]
    request: Pem


class RenewBody(Table):
    """What a site sends to renew; `signature` is in base64."""

    certificate: Pem
    request: Pem
    signature: Annotated[str, Field(max_length=512)]


class EnrolmentApi:
    """The endpoints, over one registry and what signs for the authority."""

    def __init__(self, registry: Registry, authority: Signatory) -> None:
        self._registry = registry
        self._authority = authority

    def people_routes(self) -> list[Route]:
        """Return the routes of the listener that asks for no certificate."""
        return [
            Route("/v1/authority", self.authority, methods=["GET"]),
            Route("/v1/enrol", explained(self.enrol), methods=["POST"]),
        ]

    def site_routes(self) -> list[Route]:
        """Return the routes of the sites' listener."""
        return [
            Route("/v1/authority", self.authority, methods=["GET"]),
            Route("/v1/renew", explained(self.renew), methods=["POST"]),
        ]

    async def authority(self, _request: Request) -> Response:
        """Give the authority's certificate, PEM."""
        return PlainTextResponse(pem_of(self._authority.certificate))

    async def enrol(self, request: Request) -> Response:
        """Let a site in that has a token; 200 with its certificate, 403 with the reason, 400, 413."""
        body = await parse_body(request, EnrolBody)

        def redeem() -> x509.Certificate:
            return self._registry.redeem(body.token, body.request.encode(), self._authority)

        return await self._answer(redeem)

    async def renew(self, request: Request) -> Response:
        """Renew a site's certificate; 200 with the new one, 403 with the reason, 400, 413."""
        body = await parse_body(request, RenewBody)
        try:
            signature = base64.b64decode(body.signature, validate=True)
        except ValueError:
            raise HTTPException(400, "the signature is not base64") from None

        def sign() -> x509.Certificate:
            current, wanted = body.certificate.encode(), body.request.encode()
            return self._registry.renew(current, wanted, signature, self._authority)

        return await self._answer(sign)

    async def _answer(self, sign: Callable[[], x509.Certificate]) -> Response:
        # SQLite and signing block; other requests go on meanwhile.
        certificate = await run_in_threadpool(sign)
        pems = {"certificate": certificate, "authority": self._authority.certificate}
        return JSONResponse({name: pem_of(one).decode("ascii") for name, one in pems.items()})
