"""Keeps Flower's list of nodes in step with the registry of sites."""

import asyncio
import logging

from server.gateway.sites import SiteRegistry
from server.superlink.superlink import SuperLink, SuperLinkError

log = logging.getLogger(__name__)

SWEEP_S = 5.0


class Roster:
    """The SuperLink as the gateway sees it: where it is, and which nodes it knows.

    A site that has joined is registered when its node first calls. One that was revoked, perhaps by a command
    in another process, is unregistered within seconds, so that no round waits for it; the gateway refuses its
    requests at once.
    """

    def __init__(self, superlink: SuperLink, registry: SiteRegistry) -> None:
        self._superlink = superlink
        self._registry = registry

    @property
    def url(self) -> str:
        """Address of the SuperLink."""
        return self._superlink.url

    async def admit(self, name: str, public_key: str) -> None:
        """Let the SuperLink know a site's node.

        Args:
            name: Of the site.
            public_key: That with which it comes, in OpenSSH's format: not always its newest, which its
                service takes up some time after a person has renewed it.

        Raises:
            SuperLinkError: It does not answer.
        """
        await self._superlink.register_node(public_key, name)

    async def keep(self) -> None:
        """Unregister what should not be there, again and again until cancelled."""
        said = ""
        while True:
            try:
                await self.sweep()
                said = ""
            except SuperLinkError as error:
                log.log(logging.DEBUG if said == error.problem else logging.WARNING, "%s", error.problem)
                said = error.problem
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Unregister the nodes of sites that are revoked or unknown, and those whose key has ended.

        A key ends when the site first comes with a newer one.

        Raises:
            SuperLinkError: The SuperLink does not answer.
        """
        sites = {site.name: site for site in self._registry.sites() if site.state == "joined"}
        for node in await self._superlink.nodes():
            if node.status == "unregistered":
                continue
            site = sites.get(node.name)
            ended = site is not None and node.openssh not in site.keys and node.status != "online"
            if site is None or ended:
                log.info("node of %s unregistered", node.name)
                await self._superlink.unregister_node(node.node_id)
