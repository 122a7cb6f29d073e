"""The programs of Flower that a coordinator runs, on a Unix socket instead of a port.

`python -m shared.flower.program flower-superlink SOCKET MODULE ...` serves. For the first run of each
module's app it starts `python -m shared.flower.program flwr-serverapp SOCKET MODULE`, which loads that module
and forks itself for each run: one that only waits for sites is forked from a process that has no PyTorch.
Flower's own programs listen on ports, which every user of the machine reaches, and pass a run's secret token
as an argument, which every user of the machine sees.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Queue
from typing import ClassVar

from shared.loading import loading

with loading():
    import uvicorn
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.constant import TaskType
    from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
    from flwr.supercore.logger import mirror_output_to_queue, restore_output
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.superlink.grid import HttpGrid
    from flwr.superlink.main import create_app
    from flwr.superlink.runtime.run_serverapp import run_serverapp
    from starlette.types import ASGIApp, Receive, Scope, Send

    from shared.flower.fork_server import ForkServer, fork_runs
    from shared.flower.local import URL, by_socket
    from shared.flower.runs import app_of
    from shared.text.logs import log_to_stderr
    from shared.wire.unix_socket import bind

SUPERLINK, SERVERAPP = "flower-superlink", "flwr-serverapp"
"""Names of the programs, as Flower has them."""

_LOOK = 0.5  # seconds between two looks at the processes of runs
_ASK = 10.0  # seconds between two questions for a run of whose submission nothing was heard
_SUBMIT = "/v1/control/start-run"  # where runs are submitted, as in Flower's `superlink/routers/control`
_log = logging.getLogger("flwr")


class _NoRoutine(logging.Filter):
    """Lets pass what tells of something: not that the gateway looks at the list of nodes, day and night."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is logged."""
        return record.levelno > logging.INFO or not record.getMessage().startswith("ControlServicer.List")


class _Bell:
    """Passes requests on to Flower's app, and rings when a run was submitted.

    To ask twice a second whether there is one took half of what a SuperLink at rest needs.

    Attributes:
        rung: Set when Flower has answered a submission.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.rung = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)
        if scope["type"] == "http" and scope["path"] == _SUBMIT:
            self.rung.set()


def serve(socket: Path, modules: list[str]) -> None:
    """Be the SuperLink until told to stop; its state stays in memory.

    Args:
        socket: Where to listen; nothing may be there.
        modules: Each has an app; its runs' processes import it. The first is also for apps of others.
    """
    _log.addFilter(_NoRoutine())
    app = create_app()
    app.state.enable_supernode_auth = True
    bell = _Bell(app)
    config = uvicorn.Config(bell, log_config=None, access_log=False)
    with bind(socket) as listener:
        threading.Thread(target=_start_runs, args=(socket, modules, bell.rung), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _start_runs(socket: Path, modules: list[str], rung: threading.Event) -> None:
    """Start a process for each run that is submitted, for as long as this one lives.

    Args:
        socket: Where this process listens.
        modules: As in `serve`.
        rung: Set when a run was submitted.
    """
    interceptors = [RuntimeVersionHttpInterceptor(component_name="SuperExec")]
    client = by_socket(RuntimeHttpClient(URL, interceptors=interceptors, verify=False), socket)
    request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    program = [sys.executable, "-P", "-m", "shared.flower.program", SERVERAPP, str(socket)]
    forks = {app_of(f"{module}:app").hash_str: ForkServer([*program, module]) for module in modules}
    first = next(iter(forks.values()))
    ask = 0.0  # when to ask though nothing was heard
    while True:
        if rung.is_set() or time.monotonic() >= ask:
            rung.clear()
            ask = time.monotonic() + _ASK
            try:
                acquired = client.AcquireTask(request)
                if acquired.token:
                    forks.get(acquired.task.fab_hash, first).start(acquired.token)
                    ask = 0.0  # there may be another one
                    continue
            except Exception as error:  # nobody else would start the next run
                _log.warning("no run can be started now (%s)", error)
                ask = time.monotonic() + _LOOK
        for each in forks.values():
            each.look()
        rung.wait(_LOOK)


class _SocketGrid(HttpGrid):
    """Flower's Grid of a run, over the socket."""

    socket: ClassVar[Path]

    def _connect(self) -> None:
        super()._connect()
        if self._client is not None:
            by_socket(self._client, self.socket)


def fork(socket: Path, modules: list[str]) -> None:
    """Be the process that forks one for each run."""
    fork_runs(partial(run, superlink=os.getppid()), socket, modules)


def run(socket: Path, token: str, superlink: int) -> None:
    """Be the process of one run.

    Args:
        socket: Where the SuperLink listens.
        token: Of the run.
        superlink: Number of the SuperLink's process; the run ends with it.
    """
    _SocketGrid.socket = socket
    vars(sys.modules[run_serverapp.__module__])["HttpGrid"] = _SocketGrid
    output: Queue[str | None] = Queue()
    mirror_output_to_queue(output)
    run_serverapp(
        runtime_api_address=URL.removeprefix("http://"),
        log_queue=output,
        token=token,
        insecure=True,  # of TLS: there is none on a Unix socket
        parent_pid=superlink,
        runtime_dependency_install=False,
    )
    restore_output()


if __name__ == "__main__":
    log_to_stderr()
    PROGRAMS: dict[str, Callable[[Path, list[str]], None]] = {SUPERLINK: serve, SERVERAPP: fork}
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
