"""Flower's control interface, as far as a coordinator needs it to keep the list of nodes.

The interface has no accounts: whoever reaches it may use it. It is reachable by a socket of the coordinator's
user only, see `server/superlink/superlink.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

from shared.flower.local import URL, by_socket

__all__ = ["Control", "NodeInfo"]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node that the SuperLink knows.

    Attributes:
        node_id: Flower's number of the node.
        name: The site's name, as it was registered.
        status: `registered` (never seen), `online`, `offline` or `unregistered`.
        openssh: Its public key, one line in OpenSSH's format.
        since: When it last came online; `None` when it never did.
    """

    node_id: int
    name: str
    status: str
    openssh: str
    since: datetime | None


class Control:
    """A client of the control interface.

    Args:
        socket: Where the SuperLink listens.
    """

    def __init__(self, socket: Path) -> None:
        interceptors = [RuntimeVersionHttpInterceptor("flwr CLI")]
        self._client = by_socket(ControlHttpClient(URL, interceptors=interceptors, verify=False), socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def nodes(self) -> list[NodeInfo]:
        """Return the nodes that are registered, with those that once were."""
        return [_info(node) for node in self._client.ListNodes(ListNodesRequest()).nodes_info]

    def register_node(self, public_key: str, name: str) -> int:
        """Let a node take part; registering the same key again changes nothing.

        Args:
            public_key: The node's EC key in OpenSSH's format, without a comment.
            name: The site's name.

        Returns:
            Flower's number of the node.

        Raises:
            ValueError: The key can't be read, or was unregistered before: Flower takes no key twice.
        """
        key = load_ssh_public_key(public_key.encode())
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        try:
            return int(self._client.RegisterNode(RegisterNodeRequest(public_key=pem, name=name)).node_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.PRECONDITION_FAILED:
                raise
        for node in self.nodes():
            if node.openssh == public_key and node.status != "unregistered":
                return node.node_id
        raise ValueError(f"the key of {name} was unregistered; the site needs a new key")

    def unregister_node(self, node_id: int) -> None:
        """Refuse a node from now on; one that is not registered is left as it is."""
        try:
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise


def _info(node: Any) -> NodeInfo:
    key = load_pem_public_key(node.public_key)
    activated = node.last_activated_at
    return NodeInfo(
        node_id=node.node_id,
        name=node.name,
        status=node.status,
        openssh=key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        since=datetime.fromisoformat(activated) if activated else None,
    )
