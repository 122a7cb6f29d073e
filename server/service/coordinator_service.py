"""The coordinator as one service, put together here and nowhere else, from its folder.

SuperLink, registry, audit trail, both listeners, the runs of people, and what goes on by itself.
"""

import asyncio
import logging
import os
import resource
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from server.audit.trail import Append, AuditTrail
from server.folder.coordinator import (
    ANSWERS,
    COORDINATOR,
    MODELS,
    RUNS,
    ServerConfig,
    load_settings,
    renew_server_certificate,
)
from server.gateway.answer_files import AnswersApi
from server.gateway.counts_api import CountsApi
from server.gateway.enrolment_api import EnrolmentApi
from server.gateway.gateway import Door, Gateway, Routes, listen
from server.gateway.model_files import ModelsApi
from server.gateway.notices import Bell, hang_bell
from server.gateway.oidc_api import OidcApi
from server.gateway.run_desk import RunDesk
from server.gateway.runs_api import RunsApi
from server.oidc.log_ins import LogIns
from server.oidc.provider import Provider
from server.registry.enrolment import Registry
from server.registry.people import People
from server.registry.site_versions import SiteVersions
from server.registry.store import REGISTRY
from server.runs.local import Coordinator
from server.runs.places import Places
from server.runs.recovery import Recovery
from server.runs.removal import Retention
from server.runs.run_log import RunLog
from server.runs.run_queue import RunQueue
from server.service.coordinator_numbers import coordinator_numbers
from server.service.coordinator_watch import CoordinatorWatch
from server.superlink.site_names import all_sites
from server.superlink.superlink import SuperLink
from server.web.coordinator_pages import CoordinatorPages
from server.web.oidc_pages import BACK
from shared.flower.runs import Runs
from shared.monitoring.publish import published
from shared.notify.messenger import Messenger
from shared.pki.authority import Signatory
from shared.pki.certificates import server_context
from shared.systemd import notify
from shared.wire.address import join_address

log = logging.getLogger(__name__)

OPEN_FILES = 8192  # each site's connection has one to the SuperLink behind it
DAY_S = 86400.0
_AGAIN_S = 10.0  # seconds until a watch that an error has ended begins again


@dataclass(frozen=True, slots=True)
class Service:
    """What runs.

    Attributes:
        folder: The coordinator's folder.
        settings: From its `server.toml`.
        authority: Signs the certificates of sites that join and renew.
        append: Writes an entry of the audit log.
        superlink: Running.
        registry: Sites and invitations.
        people: People and their tokens.
        trail: The audit log, for what comes in numbers.
        bell: Between the sites and the round loops.
    """

    folder: Path
    settings: ServerConfig
    authority: Signatory
    append: Append
    superlink: SuperLink
    registry: Registry
    people: People
    trail: AuditTrail
    bell: Bell

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer sites and people, and go on with runs that were broken off, until told to stop.

        Raises:
            GatewayError: A port can't be used.
            SuperLinkError: The SuperLink can't be kept running.
        """
        settings, limits = self.settings.server, self.settings.limits
        renew_server_certificate(self.folder, self.authority, settings.host)
        sites_address, people_address = settings.listen_addresses()
        sites_tls, people_tls = (_context(self.folder, sites=sites) for sites in (True, False))
        sites = Door(listen(sites_address, settings.sites_port), sites_tls, limits.sites)
        people = Door(listen(people_address, settings.people_port), people_tls, limits.people)
        desk = RunDesk(
            self.folder / RUNS,
            self._connect,
            self.trail,
            self.people.project_names,
            most_queued=limits.runs.queued_each,
        )
        versions = SiteVersions(self.folder)
        log_ins = self._log_ins()
        pages = CoordinatorPages(settings.name, desk, self.registry, versions=versions, log_ins=log_ins)
        gateway = Gateway(
            self.superlink,
            self.registry,
            self.people,
            self.trail,
            self._routes(pages, desk, versions, log_ins),
            bell=self.bell,
        )
        runs = self.folder / RUNS
        operator = Coordinator(runs, self._connect, self.append)
        places = Places(runs, limits.runs, self._sites_of)
        beside = [
            asyncio.create_task(kept_up(watch))
            for watch in (
                partial(self._renew, sites_tls, people_tls),
                Recovery(self.superlink, operator, runs).watch,
                RunLog(runs).watch,
                Retention(runs, operator, self.settings.retention).watch,
                RunQueue(self.superlink, operator, runs, places).watch,
            )
        ]
        over = self._tell_people()
        log.info("the coordinator is ready")
        notify("READY=1")
        try:
            await gateway.serve(sites, people, stop)
        finally:
            over.set()
            for task in beside:
                task.cancel()
            await pages.close()

    def _tell_people(self) -> threading.Event:
        """Begin to tell people what happens; setting what is returned ends it."""
        over, source = threading.Event(), f"/wardround/coordinator/{self.settings.server.name}"
        watch = CoordinatorWatch(self.folder, self.settings)
        Messenger(self.settings.notify, source, self.folder, watch.look, stop=over).start()
        return over

    def _log_ins(self) -> LogIns | None:
        """Return the log-ins with accounts of an institution, where `server.toml` names one."""
        if self.settings.oidc is None:
            return None
        server = self.settings.server
        redirect = f"https://{join_address(server.host, server.people_port)}{BACK}"
        return LogIns(Provider(self.settings.oidc), self.people, redirect)

    def _routes(
        self, pages: CoordinatorPages, desk: RunDesk, versions: dict[str, str], log_ins: LogIns | None
    ) -> Routes:
        enrolment = EnrolmentApi(self.registry, self.authority)
        oidc = OidcApi(log_ins).routes() if log_ins else []
        models = ModelsApi(self.folder / MODELS)
        answers = AnswersApi(self.folder / ANSWERS, self.bell.allowances)
        counts = CountsApi(self.folder, self.people, self.trail)
        return Routes(
            people=[*RunsApi(desk).routes(), *counts.people_routes()],
            public=[*enrolment.people_routes(), *pages.routes(), *oidc],
            sessions=pages.sessions,
            versions=versions,
            sites=[
                *enrolment.site_routes(),
                *models.site_routes(),
                *answers.site_routes(),
                *counts.site_routes(),
                *self.bell.allowances.site_routes(),
            ],
        )

    def _sites_of(self, project: str) -> frozenset[str]:
        return all_sites(self.folder, project)

    def _connect(self) -> Runs:
        return Runs(self.superlink.socket)

    async def _renew(self, *contexts: ssl.SSLContext) -> None:
        """Renew the listeners' certificate in time; connections that are open keep theirs."""
        while True:
            await asyncio.sleep(DAY_S)
            if renew_server_certificate(self.folder, self.authority, self.settings.server.host):
                tls = self.folder / "tls"
                for context in contexts:
                    context.load_cert_chain(tls / "server.crt", tls / "server.key")


async def kept_up(watch: Callable[[], Awaitable[None]]) -> None:
    """Watch on where an error, of which nobody else would hear, ends the watch; until cancelled."""
    while True:
        try:
            return await watch()
        except Exception:
            log.exception("what goes on beside the coordinator was ended by an error, and begins again")
        await asyncio.sleep(_AGAIN_S)


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
    path = folder / REGISTRY
    with closing(AuditTrail(append)) as trail:
        audit = registry_audit(trail)
        with closing(Registry(path, audit)) as registry, closing(People(path, audit)) as people:
            async with hang_bell() as bell, SuperLink(folder / "superlink") as superlink:
                yield Service(folder, settings, authority, append, superlink, registry, people, trail, bell)


async def run_service(folder: Path, authority: Signatory, append: Append, stop: asyncio.Event) -> None:
    """Run a coordinator until told to stop, see `open_service`.

    Raises:
        GatewayError: A port can't be used.
        WardroundError: As `open_service`.
    """
    allow_open_files()
    os.environ[COORDINATOR] = str(folder.resolve())  # for the processes of runs
    async with open_service(folder, authority, append) as service:
        numbers = coordinator_numbers(folder, service.settings)
        with published(service.settings.monitoring, numbers, "wardround-coordinator"):
            append("service-started", version=version("wardround"))
            await service.serve(stop)
            append("service-stopped")


def stop_on_signals() -> asyncio.Event:
    """Return what SIGINT and SIGTERM set from now on, in the main thread's running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


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
