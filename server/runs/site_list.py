"""The sites of a federation for whoever looks after it, from the registry and from what runs tell."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from server.registry.enrolment import Registry
from server.registry.site_versions import read_versions
from server.runs.site_facts import SiteFacts, site_facts
from shared.pki.certificates import utc_now

_LOST_S = 300.0


def is_here(seen: datetime | None, now: datetime) -> bool:
    """Say whether a site was heard of in the last five minutes; otherwise it counts as lost."""
    return seen is not None and (now - seen).total_seconds() < _LOST_S


@dataclass(frozen=True)
class SiteLine:
    """A site that has joined.

    Attributes:
        state: joined or revoked.
        online: Whether it has been heard of, see `is_here`.
        version: Of Wardround, as it last said.
        days: Of its certificate that are left.
        waiting: Runs that wait for its approval.
        last_run: The newest one in which it trained, and `last_round` the last round of that.
    """

    name: str
    state: str
    online: bool
    joined: datetime
    last_seen: datetime | None
    expires: datetime
    version: str
    days: int
    waiting: int
    last_run: str
    last_round: int


def site_list(registry: Registry, folder: Path) -> list[SiteLine]:
    """Return the sites that have joined, by name.

    Args:
        registry: Of the federation.
        folder: The coordinator's.
    """
    versions, facts, now = read_versions(folder), site_facts(folder / "runs"), utc_now()
    lines = []
    for site in registry.sites():
        own, seen = facts.get(site.name, SiteFacts()), site.last_seen
        lines.append(
            SiteLine(
                name=site.name,
                state=site.state,
                online=is_here(seen, now) and site.state == "joined",
                joined=site.joined,
                last_seen=seen,
                expires=site.expires,
                version=versions.get(site.name, ""),
                days=max((site.expires - now).days, 0),
                waiting=own.waiting,
                last_run=own.last_run,
                last_round=own.last_round,
            )
        )
    return lines
