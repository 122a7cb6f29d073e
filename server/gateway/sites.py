"""What a site can reach: Flower's fleet interface, and nothing else of the SuperLink.

A request passes when its path and method are on the list, its certificate is admitted at this moment, and the
node key with which Flower signs it is the certificate's. Bodies stream through in both directions. What a
site brings is counted, and bounded by what was asked of it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from server.audit.trail import AuditTrail
from server.folder.limits import Limits
from server.gateway.client_certificate import Peer
from server.gateway.exchange import Disconnected, Exchange, Refusal
from server.gateway.expected_answers import Charge
from server.gateway.handed_out import HandedOut
from server.gateway.notices import Bell
from server.gateway.request_limits import Bounded
from server.superlink.superlink import SuperLinkError
from shared.flower.connection import MARK
from shared.pki.certificates import openssh
from shared.wire.protocol import Speaks

log = logging.getLogger(__name__)

ACTIVATE = b"/v1/fleet/activate-node"  # the first call of a node
PULL_MESSAGES = b"/v1/fleet/pull-messages"
PUSH_MESSAGES = b"/v1/fleet/push-messages"
PUSH_OBJECT = b"/v1/fleet/push-object"
PUSHES = (PUSH_MESSAGES, PUSH_OBJECT)
SMALL_PUSH = 2**16  # bytes; what ends an answer in pieces is smaller, its pieces are not
HOLD_S = 2.0  # for which a question for work is held while there is none
# Flower 1.41's routes, but for `register-node` and `unregister-node`: the operator says who belongs to the
# federation, a node with a key calls neither, and Flower refuses both under node authentication.
FLEET_PATHS = frozenset(
    {
        ACTIVATE,
        b"/v1/fleet/confirm-message-received",
        b"/v1/fleet/deactivate-node",
        b"/v1/fleet/get-fab",
        b"/v1/fleet/get-run",
        PULL_MESSAGES,
        b"/v1/fleet/pull-object",
        PUSH_MESSAGES,
        PUSH_OBJECT,
        b"/v1/fleet/send-node-heartbeat",
    }
)
_MARK = MARK.encode()
NODE_KEY = b"flwr-public-key"
PASSED_ON = frozenset(
    {
        b"accept",
        b"content-length",
        b"content-type",
        NODE_KEY,
        b"flwr-signature",
        b"flwr-timestamp",
        b"flwr-component-name",
        b"flwr-package-name",
        b"flwr-package-version",
    }
)
NOT_PACKED = (b"accept-encoding", b"identity")  # packing costs time on loopback, and models hardly shrink
UPSTREAM_TIMES = httpx.Timeout(connect=5.0, read=60.0, write=60.0, pool=30.0)
# A SuperLink that takes longer hands the message out all the same; one that hangs is replaced.
_PULL_TIMES = httpx.Timeout(connect=5.0, read=None, write=60.0, pool=30.0)
_LONGEST_PULL = 60.0  # seconds for which a site is kept waiting; then it asks again


class Site(Protocol):
    """A site as the registry knows it."""

    @property
    def name(self) -> str:
        """Name of the site."""

    @property
    def keys(self) -> frozenset[str]:
        """Those with which it may come, in OpenSSH's format."""

    @property
    def state(self) -> str:
        """`joined` or `revoked`."""


class SiteRegistry(Protocol):
    """The part of `server.registry.enrolment.Registry` that is asked on every request of a site."""

    def site_of(self, serial: int, public_key: EllipticCurvePublicKey) -> Site | None:
        """Return the site to which a certificate and a node key belong, if it is admitted now."""

    def seen(self, serial: int) -> None:
        """Note that a site is here."""

    def sites(self) -> Sequence[Site]:
        """Return every site that ever joined."""


class Upstream(Protocol):
    """The SuperLink."""

    @property
    def url(self) -> str:
        """Address without a path, for the client's requests."""

    async def admit(self, name: str, public_key: str) -> None:
        """Let the SuperLink know the node of a site that comes with this key."""


class SitesApp:
    """The ASGI application behind the sites' listener.

    Args:
        registry: Says who is admitted.
        upstream: The SuperLink.
        client: Talks to the SuperLink; its owner closes it.
        bell: Rung by the round loop when messages are there, and for it when answers are.
        trail: Told what was refused.
        limits: What a request may take.
        routes: What the coordinator itself answers to an admitted site, such as the renewal of its
            certificate; paths without parameters.
        versions: Gets the version of Wardround that each site says it has.
    """

    def __init__(
        self,
        registry: SiteRegistry,
        upstream: Upstream,
        client: httpx.AsyncClient,
        *,
        bell: Bell,
        trail: AuditTrail,
        limits: Limits,
        routes: Sequence[Route] = (),
        versions: dict[str, str] | None = None,
    ) -> None:
        self._versions = {} if versions is None else versions
        self._own = Starlette(routes=routes, middleware=[Middleware(Bounded, limits=limits)])
        self._own_paths = frozenset(route.path.encode() for route in routes)
        self._registry = registry
        self._upstream = upstream
        self._client = client
        self._bell = bell
        self._handed_out = HandedOut()
        self._heard: dict[str, int] = {}  # rings of the bell, by site, before it last asked for work
        self._trail = trail
        self._limits = limits
        self._is_away = False  # the SuperLink, when it was last asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        limits, path = self._limits, scope["raw_path"]
        most = limits.object_bytes if path == PUSH_OBJECT else limits.body_bytes
        exchange = Exchange(scope, receive, send, limits, most)
        who = scope["client"][0]
        try:
            site = self._site(scope["state"]["peer"])
            who = site.name
            self._note_version(who, scope)
            if path in self._own_paths:
                scope["state"]["site"] = who
                await self._own(scope, receive, send)
                return
            _check(scope)
            if path == ACTIVATE:
                await self._upstream.admit(who, openssh(scope["state"]["peer"].public_key))
            exchange.check_head()
            if path == PULL_MESSAGES:
                await self._await_work(site.name)
                self._site(scope["state"]["peer"])  # it may have been revoked meanwhile
                await self._hand_out(exchange, scope, site.name)
            elif path in PUSHES:
                await self._bring(exchange, scope, self._bell.allowances.charge(site.name))
            else:
                await self._forward(exchange, scope, exchange.body())
        except Refusal as refusal:
            self._trail.refused("site-request-refused", who, reason=refusal.reason)
            await exchange.refuse(refusal)
        except Disconnected:
            log.debug("%s left in the middle of a request", who)
        except (httpx.HTTPError, SuperLinkError) as error:
            # Every site asks several times a second while the SuperLink starts: that is said once.
            level, self._is_away = logging.DEBUG if self._is_away else logging.WARNING, True
            log.log(level, "the SuperLink did not answer %s: %r", who, error)
            await exchange.refuse(_failure(error))

    def _note_version(self, site: str, scope: Scope) -> None:
        """Take note of what a site speaks.

        Raises:
            Refusal: It is nothing that this coordinator speaks.
        """
        said = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        site_speaks = Speaks.heard(said.decode("latin-1"))
        if site_speaks.version:
            self._versions[site] = site_speaks.version
        if not site_speaks.understands(Speaks.own()):
            raise Refusal(HTTPStatus.UPGRADE_REQUIRED, "the versions of coordinator and site do not fit")

    def _site(self, peer: Peer) -> Site:
        """Return the site at the other end; asked anew for every request.

        Raises:
            Refusal: The certificate does not admit anybody any more.
        """
        site = None if peer.expired else self._registry.site_of(peer.serial, peer.public_key)
        if site is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "the certificate admits no site")
        self._registry.seen(peer.serial)
        return site

    async def _await_work(self, site: str) -> None:
        """Hold a site's question for work until there may be some, so that it need not ask all the time."""
        await self._bell.wait(self._heard.get(site, -1), HOLD_S)
        self._heard[site] = self._bell.rings

    async def _hand_out(self, exchange: Exchange, scope: Scope, site: str) -> None:
        """Give a site the next message, or again the one that it has not had."""
        mark = next((value for name, value in scope["headers"] if name == _MARK), None)
        if mark is None:  # a version that doesn't say what came
            await self._forward(exchange, scope, exchange.body())
            return
        body = b"".join([chunk async for chunk in exchange.body()])
        request = self._request(scope, body, _PULL_TIMES)
        try:
            async with asyncio.timeout(_LONGEST_PULL):
                response = await self._handed_out.answer(site, mark, partial(self._client.send, request))
        except TimeoutError:
            raise httpx.ReadTimeout("it is busy") from None
        self._is_away = False
        await exchange.answer(response)

    def _request(
        self, scope: Scope, body: bytes | AsyncIterator[bytes], times: httpx.Timeout = UPSTREAM_TIMES
    ) -> httpx.Request:
        return self._client.build_request(
            "POST",
            self._upstream.url + scope["raw_path"].decode(),
            headers=[*(item for item in scope["headers"] if item[0] in PASSED_ON), NOT_PACKED],
            content=body,
            timeout=times,
        )

    async def _bring(self, exchange: Exchange, scope: Scope, charge: Charge) -> None:
        """Pass on a part of an answer, if a run waits for it and it is not too large.

        Raises:
            Refusal: It is neither; nothing is counted then.
        """
        if not charge.is_open:
            raise Refusal(HTTPStatus.FORBIDDEN, "no run waits for an answer of this site")
        if exchange.announced > charge.left:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the answer is larger than the model allows")
        try:
            await self._forward(exchange, scope, _counted(exchange.body(), charge), charge)
        finally:
            charge.close()
        if scope["raw_path"] == PUSH_MESSAGES or exchange.announced <= SMALL_PUSH:
            self._bell.answered()

    async def _forward(
        self, exchange: Exchange, scope: Scope, body: AsyncIterator[bytes], charge: Charge | None = None
    ) -> None:
        response = await self._client.send(self._request(scope, body), stream=True)
        self._is_away = False
        if charge is not None and response.is_client_error:
            charge.give_back()
        try:
            await exchange.answer(response)
        finally:
            await response.aclose()


async def _counted(body: AsyncIterator[bytes], charge: Charge) -> AsyncIterator[bytes]:
    async for chunk in body:
        if not charge.take(len(chunk)):
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the answer is larger than the model allows")
        yield chunk
    charge.whole = True


def _check(scope: Scope) -> None:
    """Look at a request's line and headers.

    Raises:
        Refusal: It is not one of the fleet's, or not signed with the certificate's key.
    """
    if scope["raw_path"] not in FLEET_PATHS or scope["query_string"]:
        raise Refusal(HTTPStatus.NOT_FOUND, "no such path")
    if scope["method"] != "POST":
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only POST is allowed")
    names = [name for name, _ in scope["headers"] if name in PASSED_ON]
    if len(names) != len(set(names)):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a header came twice")
    if (NODE_KEY, scope["state"]["peer"].node_key) not in scope["headers"]:
        raise Refusal(HTTPStatus.FORBIDDEN, "the node key is not the certificate's")


def _failure(error: httpx.HTTPError | SuperLinkError) -> Refusal:
    """Return the answer for a SuperLink that could not be asked."""
    if isinstance(error, httpx.ConnectError | SuperLinkError):
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the coordinator is starting; try again")
    if isinstance(error, httpx.TimeoutException):
        return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "the coordinator is busy; try again")
    return Refusal(HTTPStatus.BAD_GATEWAY, "the coordinator broke off; try again")
