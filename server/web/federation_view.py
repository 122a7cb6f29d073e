"""The sites and people of a federation as their pages show them, to one person."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.gateway.people import Caller
from server.registry.enrolment import Registry
from server.registry.people import Person
from server.registry.projects import Project
from server.report.facts import RunFacts
from server.runs.local import Coordinator
from server.runs.site_list import is_here
from server.web.seen_run import SeenRun

_FEW_DAYS = 30  # of a certificate
_RUNS = 30  # newest ones, in which datasets and errors are looked for


@dataclass(frozen=True)
class SiteView:
    """A site of the federation.

    Attributes:
        state: In a word.
        kind: How the word is marked.
        days: Of its certificate that are left; None where it has none.
        version: Of Wardround, as it last said.
        datasets: Names of those that it has offered to runs, with the patients that it tells of.
        error: The last that it met in a run, with the run's name.
    """

    name: str
    state: str
    kind: str
    projects: Sequence[str]
    seen: datetime | None = None
    days: int | None = None
    version: str = ""
    datasets: Sequence[str] = ()
    error: tuple[str, str] | None = None

    @property
    def wants(self) -> str:
        """What somebody has to do about it; nothing where it is well."""
        if self.state == "lost":
            return "has not been heard from; is its service running?"
        if self.days is not None and self.days < _FEW_DAYS and self.state not in {"revoked", "invited"}:
            return f"has a certificate that ends in {self.days} {'day' if self.days == 1 else 'days'}"
        return ""


@dataclass(frozen=True)
class Federation:
    """What the registry says, as far as a person may see it: of their projects; an operator sees all."""

    sites: Sequence[SiteView]
    people: Sequence[Person]
    projects: Sequence[Project]


def federation_of(
    registry: Registry, coordinator: Coordinator, user: Caller, versions: dict[str, str], now: datetime
) -> Federation:
    """Return the sites, people and projects that a person sees.

    Args:
        registry: Of the federation.
        coordinator: The runs that the person sees, which tell what sites offered and what went wrong.
        user: The person.
        versions: Of Wardround at each site.
        now: The time.
    """
    projects = [one for one in registry.projects() if user.role == "operator" or one.name in user.projects]
    offered, errors = _from_runs(coordinator)
    sites = []
    for site in registry.sites():
        own = [project.name for project in projects if site.name in project.sites]
        if not own and user.role != "operator":
            continue
        state, kind = _state(site.state, site.last_seen, now)
        sites.append(
            SiteView(
                name=site.name,
                state=state,
                kind=kind,
                projects=own,
                seen=site.last_seen,
                days=max((site.expires - now).days, 0),
                version=versions.get(site.name, ""),
                datasets=offered.get(site.name, ()),
                error=errors.get(site.name),
            )
        )
    for invitation in registry.invitations():
        own = [project.name for project in projects if invitation.site in project.sites]
        if own or user.role == "operator":
            sites.append(SiteView(invitation.site, "invited", "warn", own))
    people = registry.people() if user.role == "operator" else []
    return Federation(sites, people, projects)


def _state(state: str, seen: datetime | None, now: datetime) -> tuple[str, str]:
    if state == "revoked":
        return "revoked", "bad"
    if seen is None:
        return "not yet seen", "warn"
    return ("online", "good") if is_here(seen, now) else ("lost", "bad")


def _from_runs(coordinator: Coordinator) -> tuple[dict[str, Sequence[str]], dict[str, tuple[str, str]]]:
    """Return the datasets that each site has offered, and its last error, of the newest runs."""
    offered: dict[str, dict[str, str]] = {}
    errors: dict[str, tuple[str, str]] = {}
    for run in _seen(coordinator):
        facts = RunFacts(run)
        for site in facts.sites:
            own = offered.setdefault(site, {})
            own.setdefault(run.job.job.dataset, _patients(facts.sites[site].get("patients") or {}))
        for line in reversed(facts.events):
            if line.get("event") in {"site_failed", "site_left_out"} and line.get("site"):
                errors.setdefault(str(line["site"]), (run.path.name, str(line.get("reason") or "")))
    return {site: [f"{name}{many}" for name, many in own.items()] for site, own in offered.items()}, errors


def _seen(coordinator: Coordinator) -> Iterator[SeenRun]:
    for row in coordinator.list()[:_RUNS]:
        if row.status != "unreadable":
            run = coordinator.open(row.name)
            yield SeenRun(run.path, run.job, coordinator.role)


def _patients(counts: dict[str, int]) -> str:
    known = [count for count in counts.values() if isinstance(count, int)]
    return f" ({sum(known)} patients)" if known else ""
