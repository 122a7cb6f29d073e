"""Flower's clients on the coordinator's machine: they reach the SuperLink by its Unix socket.

The SuperLink listens on no port. Its socket is in a folder that only the coordinator's user can enter, which
takes the place of TLS and of accounts: Flower's control and runtime interfaces have none.
"""

from pathlib import Path
from typing import TypeVar

import httpx
from flwr.supercore.protobuf.client import ProtobufClient

from shared.wire.unix_socket import TRUSTS_NOBODY, socket_address

URL = "http://superlink"
"""What requests to the socket have for a host; it is looked up nowhere."""

Client = TypeVar("Client", bound=ProtobufClient)


def by_socket(client: Client, socket: Path) -> Client:
    """Let a client send its requests to a Unix socket, past every proxy; returns the client.

    Args:
        client: New, for `URL`.
        socket: Where the SuperLink listens.
    """
    client._client.close()
    transport = httpx.HTTPTransport(verify=TRUSTS_NOBODY, uds=socket_address(socket))
    client._client = httpx.Client(transport=transport, timeout=client._client.timeout, trust_env=False)
    return client
