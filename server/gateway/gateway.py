"""The coordinator's doors: a listener for sites, a listener for people, and the SuperLink behind them."""

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.routing import BaseRoute, Route

from server.audit.trail import AuditTrail
from server.folder.limits import Limits
from server.gateway.listener import Listener
from server.gateway.node_list import Roster
from server.gateway.notices import Bell
from server.gateway.people import LogIn, PersonRegistry, build_people_app
from server.gateway.sites import SiteRegistry, SitesApp
from server.superlink.superlink import SuperLink
from shared.errors import WardroundError
from shared.web.sessions import Sessions

UPSTREAM_CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=64)


class GatewayError(WardroundError):
    """The gateway can't listen."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where one listener listens, and what it takes.

    Attributes:
        sock: A listening socket, see `listen`; closed with the gateway.
        context: TLS 1.3; the sites' one requires a client certificate.
        limits: What a peer may take.
    """

    sock: socket.socket
    context: ssl.SSLContext
    limits: Limits


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: Address to bind; `0.0.0.0` is all of IPv4, `::` all of IPv6 and IPv4.
        port: Port; 0 takes a free one.

    Raises:
        GatewayError: The port is taken, or not for this user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256, dualstack_ipv6=host == "::")
    except OSError as error:
        raise GatewayError(
            f"can't listen on {host} port {port} ({error.strerror})",
            remedy="Stop what uses the port, or choose another one in server.toml.",
        ) from None


@dataclass(frozen=True, slots=True)
class Routes:
    """What other parts answer.

    Attributes:
        people: On the people's listener, behind a token.
        public: On the people's listener, open to all, or with a log-in of their own.
        sessions: The log-ins of browsers.
        sites: On the sites' listener, to sites that are admitted.
        versions: Gets the version of Wardround that each site says it has.
    """

    people: Sequence[BaseRoute] = ()
    public: Sequence[BaseRoute] = ()
    sessions: Sessions[LogIn] | None = None
    sites: Sequence[Route] = ()
    versions: dict[str, str] = field(default_factory=dict)


class Gateway:
    """Both listeners in front of a SuperLink.

    Args:
        superlink: Running.
        registry: Says which sites are admitted.
        people: Knows the tokens.
        trail: Told what happens.
        routes: What other parts answer.
        bell: Between the sites and the round loops.
    """

    def __init__(
        self,
        superlink: SuperLink,
        registry: SiteRegistry,
        people: PersonRegistry,
        trail: AuditTrail,
        routes: Routes,
        *,
        bell: Bell,
    ) -> None:
        self._superlink = superlink
        self._registry = registry
        self._people = people
        self._trail = trail
        self._routes = routes
        self._bell = bell

    async def serve(self, sites: Door, people: Door, stop: asyncio.Event) -> None:
        """Answer until told to stop, or until something breaks.

        Raises:
            SuperLinkError: The SuperLink can't be kept running.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(sites.sock)
            stack.enter_context(people.sock)
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=self._superlink.transport(UPSTREAM_CONNECTIONS), trust_env=False)
            )
            roster = Roster(self._superlink, self._registry)
            sites_app = SitesApp(
                self._registry,
                roster,
                client,
                bell=self._bell,
                trail=self._trail,
                limits=sites.limits,
                routes=self._routes.sites,
                versions=self._routes.versions,
            )
            people_app = build_people_app(
                self._people,
                self._trail,
                people.limits,
                lambda: self._superlink.healthy,
                routes=self._routes.people,
                public=self._routes.public,
                sessions=self._routes.sessions,
            )
            listeners = [
                Listener(sites_app, sites.sock, sites.context, sites.limits, self._trail),
                Listener(people_app, people.sock, people.context, people.limits, self._trail),
            ]
            await _until(stop, listeners, roster.keep(), self._superlink.keep())


async def _until(
    stop: asyncio.Event, listeners: Sequence[Listener], *others: Coroutine[Any, Any, None]
) -> None:
    """Run listeners and whatever else must go on; stop all when told, or when one of them ends."""
    serving = [asyncio.create_task(listener.serve()) for listener in listeners]
    beside = [asyncio.create_task(other) for other in others]
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({told, *serving, *beside}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    for listener in listeners:
        listener.should_exit = True
    ended = [task for task in beside if task.done()]
    for task in beside:
        task.cancel()
    await asyncio.gather(*serving, *ended)
