"""A whole coordinator as a process: a site enrols, its node works, it renews, it is revoked."""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.settings.enrolment import enrol, renew
from server.folder.coordinator import ServerTable, bind_address, found, join_string
from server.registry.enrolment import Registry
from server.registry.people import People
from shared.pki.certificates import client_context, load_key
from simulate.federation.processes import free_ports
from tests.cli import started

PROJECT = Path(__file__).parents[3]
START = """
import asyncio, json, logging, sys
from pathlib import Path
from server.service.coordinator_service import run_service, stop_on_signals
from shared.pki.authority import Authority

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
folder = Path(sys.argv[1])
file = (folder / "audit.jsonl").open("a", buffering=1)
append = lambda event, **fields: file.write(json.dumps({"event": event, **fields}) + "\\n")

async def run():
    await run_service(folder, Authority.open(folder / "ca"), append, stop_on_signals())

asyncio.run(run())
"""


def no_audit(event: str, **fields: str) -> None:
    pass


@dataclass
class Coordinator:
    folder: Path
    settings: ServerTable
    process: subprocess.Popen[str]

    def await_line(self, text: str) -> None:
        """Read the coordinator's log until a line has this text."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                return
        pytest.fail("".join(lines))


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    sites_port, people_port = free_ports(2)
    folder = tmp_path / "coordinator"
    settings = ServerTable(name="trial", host="127.0.0.1", sites_port=sites_port, people_port=people_port)
    found(folder, settings, None)
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        with started(
            [sys.executable, "-c", START, folder],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "NOTIFY_SOCKET": str(address)},
        ) as process:
            running = Coordinator(folder, settings, process)
            running.await_line("the coordinator is ready")
            assert systemd.recv(100) == b"READY=1"
            yield running
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0


def fleet(coordinator: Coordinator, keys: Path) -> FleetHttpClient:
    key = load_key(keys / "site.key")
    interceptors = [
        RuntimeVersionHttpInterceptor(component_name="SuperNode"),
        NodeAuthHttpInterceptor(key, key.public_key()),
    ]
    url = f"https://127.0.0.1:{coordinator.settings.sites_port}"
    context: ssl.SSLContext = client_context(keys)
    return FleetHttpClient(url, interceptors=interceptors, verify=context)


def activation(keys: Path) -> ActivateNodeRequest:
    public = public_key_to_bytes(load_key(keys / "site.key").public_key())
    return ActivateNodeRequest(public_key=public, heartbeat_interval=30)


@pytest.mark.slow
def test_from_invitation_to_revocation(coordinator: Coordinator, tmp_path: Path) -> None:
    family = psutil.Process(coordinator.process.pid).children(recursive=True)
    site, keys = tmp_path / "site", tmp_path / "site" / "keys"
    with closing(Registry(coordinator.folder / "registry.sqlite", no_audit)) as registry:
        enrol(join_string(coordinator.folder, "st-mary", registry.invite("st-mary")), site)
        with fleet(coordinator, keys) as client:
            assert client.ActivateNode(activation(keys)).node_id
            assert [row.last_seen is not None for row in registry.sites()] == [True]

            before = (keys / "site.crt").read_bytes()
            renew(site, change_key=True)
            assert (keys / "site.crt").read_bytes() != before

            registry.revoke("st-mary")
            with pytest.raises(httpx.HTTPStatusError, match="403"):
                client.ActivateNode(activation(keys))
    coordinator.await_line("node of st-mary unregistered")

    with closing(People(coordinator.folder / "registry.sqlite", no_audit)) as people:
        token = people.add_person("ada", "viewer")
    url = f"https://127.0.0.1:{coordinator.settings.people_port}"
    trusted = ssl.create_default_context(cafile=coordinator.folder / "ca" / "ca.crt")
    with httpx.Client(verify=trusted, base_url=url, trust_env=False) as person:
        assert person.get("/v1/health").json() == {"status": "ok"}
        assert person.get("/v1/runs").status_code == 401
        assert person.get("/v1/runs", headers={"authorization": f"Bearer {token}"}).json() == []

    audit = (coordinator.folder / "audit.jsonl").read_text(encoding="utf-8")
    for event in ("site-enrolled", "site-renewed", "certificate-refused", "call", "log-in-failed"):
        assert f'"event": "{event}"' in audit
    assert token not in audit

    coordinator.process.send_signal(signal.SIGTERM)
    psutil.wait_procs([*family, psutil.Process(coordinator.process.pid)])


def test_a_rehearsal_on_loopback_is_not_offered_to_the_network() -> None:
    assert bind_address("127.0.0.1") == bind_address("localhost") == "127.0.0.1"
    assert bind_address("::1") == "::1"
    assert bind_address("federation.example.org") == bind_address("192.0.2.1") == "0.0.0.0"  # noqa: S104
