"""Flower's own client through the gateway to a real SuperLink."""

import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from .conftest import Ca, Credential, Federation, Upstream, gateway

pytestmark = pytest.mark.slow


@pytest.fixture
def federation(tmp_path: Path, ca: Ca) -> Iterator[Federation]:
    with gateway(tmp_path, ca, Upstream("flower")) as running:
        yield running


def client(federation: Federation, credential: Credential) -> FleetHttpClient:
    context: ssl.SSLContext = federation.context(credential)
    interceptors = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(credential.key, credential.key.public_key()),
    ]
    url = f"https://127.0.0.1:{federation.sites_port}"
    return FleetHttpClient(url, interceptors=interceptors, verify=context)


def activate(fleet: FleetHttpClient, credential: Credential) -> int:
    key = public_key_to_bytes(credential.key.public_key())
    return fleet.ActivateNode(ActivateNodeRequest(public_key=key, heartbeat_interval=30)).node_id


def test_a_node_works_over_a_killed_superlink_until_it_is_revoked(federation: Federation) -> None:
    credential, other = federation.credential("st-mary"), federation.credential("st-luke")
    with client(federation, credential) as fleet, client(federation, other) as neighbour:
        node_id = activate(fleet, credential)
        assert activate(neighbour, other) != node_id
        heartbeat = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=30)
        assert fleet.SendNodeHeartbeat(heartbeat).success
        assert not fleet.PullMessages(PullMessagesRequest(node=Node(node_id=node_id))).messages_list
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            neighbour.SendNodeHeartbeat(heartbeat)

        os.kill(int((federation.folder / "superlink.pid").read_text()), signal.SIGKILL)
        statuses = set()
        while 401 not in statuses:  # the new SuperLink knows nobody
            try:
                fleet.SendNodeHeartbeat(heartbeat)
            except httpx.HTTPStatusError as error:
                statuses.add(error.response.status_code)
        assert statuses <= {401, 502, 503}
        heartbeat = SendNodeHeartbeatRequest(
            node=Node(node_id=activate(fleet, credential)), heartbeat_interval=30
        )
        assert fleet.SendNodeHeartbeat(heartbeat).success

        federation.edit_site(credential, state="revoked")
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            fleet.SendNodeHeartbeat(heartbeat)


def test_the_coordinator_takes_everything_with_it(federation: Federation) -> None:
    family = psutil.Process(federation.process.pid).children(recursive=True)
    assert family
    federation.process.send_signal(signal.SIGTERM)
    assert federation.process.wait() == 0
    psutil.wait_procs(family)
