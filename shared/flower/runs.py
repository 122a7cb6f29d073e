"""Runs of Wardround's ServerApp, started and stopped through Flower's control interface."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

from shared.flower.local import URL, by_socket

# What Flower calls an app: here it holds no code, only names of objects that are installed.
# `override_config` may set no key that has no default here.
_APP = """
[project]
name = "wardround"
version = "1.0.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "{serverapp}"
clientapp = "{clientapp}"

[tool.flwr.app.config]
job = ""
run = ""
researcher = ""
project = ""
resume = false
"""


def app_of(serverapp: str, clientapp: str = "none:none") -> Fab:
    """Return what Flower takes for an app; its hash says which of ours it is.

    Args:
        serverapp: As module:attribute.
        clientapp: The same.
    """
    content = build_fab_from_files(
        {"pyproject.toml": _APP.format(serverapp=serverapp, clientapp=clientapp).encode()}
    )[0]
    return Fab(hashlib.sha256(content).hexdigest(), content, {})


class Runs:
    """A client of the control interface, for runs; a context manager.

    Args:
        socket: Where the SuperLink listens.
        serverapp: What the coordinator runs, as module:attribute.
        waits: What it runs for as long as a run waits for its sites.
        clientapp: What Flower's own SuperNodes run. Flower asks for a name; Wardround's sites run what they
            have installed, and never look at it.
    """

    def __init__(
        self,
        socket: Path,
        serverapp: str = "server.rounds.server_app:app",
        clientapp: str = "none:none",
        waits: str = "server.rounds.waiting_app:app",
    ) -> None:
        interceptors = [RuntimeVersionHttpInterceptor("flwr CLI")]
        self._client = by_socket(ControlHttpClient(URL, interceptors=interceptors, verify=False), socket)
        self._app, self._waits = app_of(serverapp, clientapp), app_of(waits, clientapp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def start(
        self, job: str, name: str, *, researcher: str, resume: bool, project: str = "", waits: bool = False
    ) -> int:
        """Start a run; returns Flower's number of it.

        Args:
            job: As canonical JSON.
            name: Of the run's folder.
            researcher: Who submitted it; empty names nobody.
            resume: Go on in the folder instead of making it.
            project: To which the run belongs.
            waits: It does nothing yet but wait for its sites.
        """
        config = user_config_to_proto(
            {"job": job, "run": name, "researcher": researcher, "resume": resume, "project": project}
        )
        app = self._waits if waits else self._app
        request = StartRunRequest(fab=fab_to_proto(app), override_config=config)
        return int(self._client.StartRun(request).run_id)

    def stop(self, run_id: int) -> bool:
        """Stop a run; returns whether there was anything to stop."""
        try:
            return bool(self._client.StopRun(StopRunRequest(run_id=run_id)).success)
        except httpx.HTTPStatusError as error:
            if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return False  # unknown, or over already
            raise

    def failure(self, run_id: int) -> str | None:
        """Return why Flower says that a run has ended early, None while it runs or when it has finished."""
        runs = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict
        if run_id not in runs:
            return "Flower does not know the run"
        status = runs[run_id].status
        if status.status != "finished" or status.sub_status == "completed":
            return None
        return str(status.details or status.sub_status)
