"""The pages of sites, people and projects."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from server.gateway.people import Caller
from server.gateway.run_desk import RunDesk
from server.registry.enrolment import Registry
from server.web.federation_view import Federation, SiteView, federation_of
from server.web.shell import Shell
from shared.pki.certificates import utc_now


class FederationPages:
    """The pages of sites, people and projects.

    Args:
        shell: Answers.
        desk: Gives the runs that a person may see.
        registry: Sites, people and projects.
        versions: Of Wardround at each site, as it last said.
    """

    def __init__(self, shell: Shell, desk: RunDesk, registry: Registry, versions: dict[str, str]) -> None:
        self._shell = shell
        self._desk = desk
        self._registry = registry
        self._versions = versions

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [self._shell.route("/sites", self.sites), self._shell.route("/people", self.people)]

    async def sites(self, request: Request) -> Response:
        """Show the sites; those that somebody has to look after first."""
        found = await self._found(request.user)
        wanting = [site for site in found.sites if site.wants]
        return self._shell.answer("sites.html.j2", request, sites=found.sites, wanting=wanting)

    async def wanting(self, user: Caller) -> list[SiteView]:
        """Return the sites that an operator has to look after."""
        if user.role != "operator":
            return []
        return [site for site in (await self._found(user)).sites if site.wants]

    async def people(self, request: Request) -> Response:
        """Show projects, and to operators everybody's roles."""
        found = await self._found(request.user)
        return self._shell.answer(
            "people.html.j2", request, people=found.people, projects=found.projects, now=utc_now()
        )

    async def _found(self, user: Caller) -> Federation:
        look = partial(federation_of, self._registry, self._desk.of(user), user, self._versions, utc_now())
        return await self._desk.quickly(look)
