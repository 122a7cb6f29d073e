"""Which site each of Flower's nodes is, as the gateway registered it by the certificate that it showed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from server.registry.enrolment import Registry
from server.registry.projects import Projects
from server.registry.store import REGISTRY
from server.superlink.superlink import socket_of
from shared.flower.control import Control, NodeInfo

SUPERLINK = "superlink"  # folder of the SuperLink in the coordinator's


def site_names(superlink: Path) -> dict[int, str]:
    """Ask the SuperLink of this machine for the sites' names, by Flower's number of the node.

    Args:
        superlink: Its folder, which says where it is now.
    """
    return {node.node_id: node.name for node in _online(superlink)}


class SiteKeys:
    """The public keys of sites: those of their newest certificates, and those with which they are here.

    Args:
        registry: Knows the certificates.
        superlink: Folder of the SuperLink.
    """

    def __init__(self, registry: Registry, superlink: Path) -> None:
        self._registry = registry
        self._superlink = superlink
        self._newest: dict[str, str] = {}

    def of(self, site: str) -> Iterator[str]:
        """Yield a site's keys, in OpenSSH's format; while it renews its key there are two.

        The one that was right before comes first; the others are looked up when they are asked for.
        """
        if site in self._newest:
            yield self._newest[site]
        self._newest = {row.name: row.public_key for row in self._registry.sites()}
        if site in self._newest:
            yield self._newest[site]
        yield from (node.openssh for node in _online(self._superlink) if node.name == site)


def _online(superlink: Path) -> list[NodeInfo]:
    with Control(socket_of(superlink)) as control:
        return [node for node in control.nodes() if node.status == "online"]


def project_sites(coordinator: Path, project: str) -> dict[int, str]:
    """Return the same for the sites of one project: a run reaches no others, and does not hear of them.

    Args:
        coordinator: Its folder.
        project: Of the run.
    """
    sites = all_sites(coordinator, project)
    named = site_names(coordinator / SUPERLINK)
    return {node: name for node, name in named.items() if name in sites}


def all_sites(coordinator: Path, project: str) -> frozenset[str]:
    """Return the names of a project's sites, connected or not.

    Args:
        coordinator: Its folder.
        project: Of the run.
    """
    with closing(Projects(coordinator / REGISTRY, _nothing_changes)) as registry:
        return registry.sites_of(project)


def _nothing_changes(event: str, **fields: str) -> None:
    raise AssertionError(f"{event}: a run only looks")
