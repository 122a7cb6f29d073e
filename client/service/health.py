"""The standard gRPC health service (grpc.health.v1) of a site's service, and how to ask it.

Two services are told apart: the overall one (empty name) serves while the site takes part in its federation;
`LIVENESS` serves as long as the process does, also while the coordinator is away: no reason to restart it.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote, unquote_to_bytes

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from shared.errors import SiteError
from shared.wire.unix_socket import LONGEST_PATH

LIVENESS = "liveness"
_THREADS = 4  # probes answered at once; one that watches keeps its thread
_PATIENCE = 2.0  # seconds for an answer
_NO_PROXY = [("grpc.enable_http_proxy", 0)]

Answer = Literal["serving", "not serving", "no answer"]


def socket_of(state: Path) -> str:
    """Return the address of the Unix socket in a site's folder `state`, by the shorter of its two paths."""
    path = state.absolute() / "health.sock"
    return f"unix:{quote(min(str(path), os.path.relpath(path), key=len))}"  # gRPC reads a URI


class Health:
    """Answers health checks; a context manager.

    Args:
        addresses: Where to listen: ``unix:PATH`` or ``HOST:PORT``.

    Raises:
        SiteError: On entering: one of them can't be used.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._servicer = health.HealthServicer()
        self.serving(yes=False)
        self._servicer.set(LIVENESS, HealthCheckResponse.SERVING)

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="health"))
        add_HealthServicer_to_server(self._servicer, self._server)
        for address in self._addresses:
            if address.startswith("unix:") and len(unquote_to_bytes(address)) > LONGEST_PATH:
                raise SiteError("is too long a path for a socket", where=address, remedy="Use another --dir.")
            try:
                self._server.add_insecure_port(address)
            except RuntimeError:
                remedy = "Is the port taken, or the address not of this machine?"
                raise SiteError(
                    "can't listen there for health checks", where=address, remedy=remedy
                ) from None
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._servicer.enter_graceful_shutdown()
        self._server.stop(grace=None).wait()

    def serving(self, *, yes: bool) -> None:
        """Say whether the site takes part."""
        state = HealthCheckResponse.SERVING if yes else HealthCheckResponse.NOT_SERVING
        self._servicer.set(health.OVERALL_HEALTH, state)


def ask(address: str, service: str = health.OVERALL_HEALTH) -> Answer:
    """Ask a health service how it is."""
    with grpc.insecure_channel(address, options=_NO_PROXY) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=_PATIENCE)
        except grpc.RpcError:
            return "no answer"
    return "serving" if answer.status == HealthCheckResponse.SERVING else "not serving"
