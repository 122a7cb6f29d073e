"""Which site each of Flower's nodes is: as the gateway registered it by the certificate that it showed."""

from pathlib import Path

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
