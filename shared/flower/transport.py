"""Flower's HTTP clients over our own way out: httpx's default would take a proxy to this very machine."""

import ssl
from typing import TypeVar

from flwr.supercore.protobuf.client import ProtobufClient

from shared.wire.proxy import open_client

Client = TypeVar("Client", bound=ProtobufClient)


def routed(client: Client, url: str, verify: ssl.SSLContext | bool) -> Client:
    """Let a client of Flower's take the way that `shared.wire.proxy` finds; returns the client.

    Args:
        client: Just made; it has sent nothing.
        url: Of its server.
        verify: How the server's certificate is checked.

    Raises:
        ProxyError: The environment names a proxy that can't be used.
    """
    unused = client._client
    client._client = open_client(url, verify, timeout=unused.timeout)
    unused.close()
    return client
