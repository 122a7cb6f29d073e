"""Which site each of Flower's nodes is, as the gateway registered it by the certificate that it showed."""

from contextlib import closing
from pathlib import Path

from server.projects import Projects
from server.superlink import socket_of
from shared.flower.control import Control

SUPERLINK = "superlink"  # folder of the SuperLink in the coordinator's


def site_names(superlink: Path) -> dict[int, str]:
    """Ask the SuperLink of this machine for the sites' names, by Flower's number of the node.

    Args:
        superlink: Its folder, which says where it is now.
    """
    with Control(socket_of(superlink)) as control:
        return {node.node_id: node.name for node in control.nodes() if node.status == "online"}


def project_sites(coordinator: Path, project: str) -> dict[int, str]:
    """Return the same for the sites of one project: a run reaches no others, and does not hear of them.

    Args:
        coordinator: Its folder.
        project: Of the run.
    """
    with closing(Projects(coordinator / "registry.sqlite", _nothing_changes)) as registry:
        sites = registry.sites_of(project)
    named = site_names(coordinator / SUPERLINK)
    return {node: name for node, name in named.items() if name in sites}


def _nothing_changes(event: str, **fields: str) -> None:
    raise AssertionError(f"{event}: a run only looks")
