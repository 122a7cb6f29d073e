"""All pages of a coordinator, put together."""

from collections.abc import Sequence
from typing import Protocol

from starlette.routing import BaseRoute

from server.gateway.people import FILES, LogIn
from server.gateway.run_desk import RunDesk
from server.oidc.log_ins import LogIns
from server.registry.enrolment import Registry
from server.web.drawing import Drawer
from server.web.federation_pages import FederationPages
from server.web.live_runs import Painter
from server.web.log_in import LOG_OUT, LogInPages
from server.web.oidc_pages import OidcPages
from server.web.reports import ReportPages
from server.web.run_pages import RunPages
from server.web.shell import Shell
from server.web.submit_pages import SubmitPages
from shared.web.pages import Link, Pages
from shared.web.sessions import Sessions

_MENU = (Link("/", "Runs"), Link("/sites", "Sites"), Link("/people", "People"))


class _Part(Protocol):
    def routes(self) -> Sequence[BaseRoute]: ...


class CoordinatorPages:
    """The pages, and the log-ins of the browsers that look at them.

    Args:
        name: Of the federation.
        desk: Does what is asked of runs.
        registry: Sites, people and projects.
        versions: Of Wardround at each site, as it last said.
        log_ins: With accounts of an institution, where there are any.
    """

    def __init__(
        self,
        name: str,
        desk: RunDesk,
        registry: Registry,
        *,
        versions: dict[str, str],
        log_ins: LogIns | None = None,
    ) -> None:
        self.sessions: Sessions[LogIn] = Sessions("__Host-wardround", secure=True)
        self._drawer = Drawer()
        pages = Pages("server.web", name, _MENU, files=FILES, leave=LOG_OUT)
        shell, painter = Shell(pages), Painter(pages, self._drawer)
        self._pages = pages
        federation = FederationPages(shell, desk, registry, versions)
        self._reports = ReportPages(shell, desk)
        account = log_ins.title if log_ins else ""
        log_in = LogInPages(shell, self.sessions, registry, trail=desk.trail, account=account)
        self._parts: list[_Part] = [
            log_in,
            RunPages(shell, desk, painter, federation.wanting),
            self._reports,
            SubmitPages(shell, desk),
            federation,
        ]
        if log_ins:
            own = OidcPages(shell, self.sessions, registry, trail=desk.trail, log_ins=log_ins)
            self._parts.append(own)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes; each says itself who may come."""
        return [*self._pages.file_routes(), *(route for part in self._parts for route in part.routes())]

    async def close(self) -> None:
        """End what runs beside."""
        await self._reports.close()
        await self._drawer.close()
