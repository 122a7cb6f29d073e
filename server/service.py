"""The coordinator as one service: SuperLink, registry, audit trail and both listeners from its folder."""

import asyncio
import logging
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from server.audit_trail import Append, AuditTrail
from server.bell import Bell, hang_bell
from server.coordinator import MODELS, ServerConfig, load_settings, renew_server_certificate
from server.enrolment import Registry
from server.enrolment_api import EnrolmentApi
from server.gateway import Door, Gateway, Routes, listen
from server.models import ModelsApi
from server.people import People
from server.superlink import SuperLink
from shared.authority import Signatory
from shared.pki import server_context

log = logging.getLogger(__name__)

OPEN_FILES = 8192  # each site's connection has one to the SuperLink behind it
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Service:
    """What runs, for the parts that add routes to it.

    Attributes:
        folder: The coordinator's folder.
        settings: From its `server.toml`.
        authority: Signs the certificates of sites that join and renew.
        superlink: Running.
        registry: Sites and invitations.
        people: People and their tokens.
        trail: The audit log.
        bell: Between the sites and the round loops.
    """

    folder: Path
    settings: ServerConfig
    authority: Signatory
    superlink: SuperLink
    registry: Registry
    people: People
    trail: AuditTrail
    bell: Bell

    async def serve(self, routes: Routes, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Answer sites and people until told to stop.

        Args:
            routes: What other parts answer, besides enrolment, renewal and models.
            stop: Set it to end.
            ready: Called once both listeners take connections.

        Raises:
            GatewayError: A port can't be used.
            SuperLinkError: The SuperLink can't be kept running.
        """
        settings, limits = self.settings.server, self.settings.limits
        api = EnrolmentApi(self.registry, self.authority)
        models = ModelsApi(self.folder / MODELS)
        renew_server_certificate(self.folder, self.authority, settings.host)
        sites_address, people_address = settings.listen_addresses()
        sites_tls, people_tls = (_context(self.folder, sites=sites) for sites in (True, False))
        sites = Door(listen(sites_address, settings.sites_port), sites_tls, limits.sites)
        people = Door(listen(people_address, settings.people_port), people_tls, limits.people)
        all_routes = Routes(
            people=routes.people,
            public=[*api.people_routes(), *routes.public],
            sites=[
                *api.site_routes(),
                *models.site_routes(),
                *self.bell.allowances.site_routes(),
                *routes.sites,
            ],
        )
        gateway = Gateway(self.superlink, self.registry, self.people, self.trail, all_routes, bell=self.bell)
        renewal = asyncio.create_task(self._renew(sites_tls, people_tls))
        ready()
        try:
            await gateway.serve(sites, people, stop)
        finally:
            renewal.cancel()

    async def _renew(self, *contexts: ssl.SSLContext) -> None:
        """Renew the listeners' certificate in time; connections that are open keep theirs."""
        while True:
            await asyncio.sleep(DAY_S)
            if renew_server_certificate(self.folder, self.authority, self.settings.server.host):
                tls = self.folder / "tls"
                for context in contexts:
                    context.load_cert_chain(tls / "server.crt", tls / "server.key")


@asynccontextmanager
async def open_service(folder: Path, authority: Signatory, append: Append) -> AsyncIterator[Service]:
    """Start the SuperLink and open the registry of a coordinator's folder.

    Args:
        folder: Made by `wardround server init`.
        authority: Signs certificates.
        append: Writes an entry of the audit log, see `AuditLog.append`.

    Raises:
        FolderError: The folder can't be used.
        RegistryError: The registry can't be used.
        SuperLinkError: The SuperLink does not start, or another coordinator runs in this folder.
    """
    settings = load_settings(folder)
    path = folder / "registry.sqlite"
    with closing(AuditTrail(append)) as trail:
        audit = registry_audit(trail)
        with closing(Registry(path, audit)) as registry, closing(People(path, audit)) as people:
            async with hang_bell() as bell, SuperLink(folder / "superlink") as superlink:
                yield Service(folder, settings, authority, superlink, registry, people, trail, bell)


def run_gateway(folder: Path, authority: Signatory, append: Append, routes: Routes | None = None) -> None:
    """Run a coordinator in this process's main thread until SIGTERM or SIGINT, see `open_service`."""

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_service(folder, authority, append) as service:
            await service.serve(routes or Routes(), stop, lambda: log.info("the coordinator is ready"))

    allow_open_files()
    asyncio.run(run())


def allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def registry_audit(trail: AuditTrail) -> Append:
    """Return what the registry tells of its changes, and of its refusals without being flooded by them."""

    def audit(event: str, **fields: str) -> None:
        if event.endswith("-refused"):
            known = (fields[name] for name in ("site", "person", "serial") if fields.get(name))
            trail.refused(event, next(known, "unknown"), **fields)
        else:
            trail.write(event, **fields)

    return audit


def _context(folder: Path, *, sites: bool) -> ssl.SSLContext:
    context = server_context(folder, sites=sites)
    context.num_tickets = 0  # every connection shows its certificate anew
    return context
