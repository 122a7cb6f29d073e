"""The programs of Flower that a coordinator runs, on a Unix socket instead of a port.

`python -m shared.flower.program flower-superlink SOCKET` serves, and starts
`python -m shared.flower.program flwr-serverapp SOCKET` for each run that is submitted. Flower's own programs
listen on ports, which every user of the machine reaches, and pass a run's secret token as an argument, which
every user of the machine sees.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import ClassVar

import uvicorn
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.http_logging import get_uvicorn_log_config
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.logger import configure_superlink_log_file, mirror_output_to_queue, restore_output
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid import HttpGrid
from flwr.superlink.main import create_app
from flwr.superlink.runtime.run_serverapp import run_serverapp

from shared.flower.local import URL, by_socket
from shared.wire.unix_socket import bind

SUPERLINK, SERVERAPP = "flower-superlink", "flwr-serverapp"
"""Names of the programs, as Flower has them."""

_LOOK = 0.5  # seconds between two questions for a run that was submitted
_LOG_HOURS, _LOGS = 24, 7
_log = logging.getLogger("flwr")


def serve(socket: Path) -> None:
    """Be the SuperLink until told to stop; its state stays in memory.

    Args:
        socket: Where to listen; nothing may be there.
    """
    configure_superlink_log_file(filename="superlink.log", interval_hours=_LOG_HOURS, backup_count=_LOGS)
    app = create_app()
    app.state.enable_supernode_auth = True
    config = uvicorn.Config(app, log_config=get_uvicorn_log_config(logging.INFO))
    with bind(socket) as listener:
        threading.Thread(target=_start_runs, args=(socket,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _start_runs(socket: Path) -> None:
    """Start a process for each run that is submitted, for as long as this one lives."""
    interceptors = [RuntimeVersionHttpInterceptor(component_name="SuperExec")]
    client = by_socket(RuntimeHttpClient(URL, interceptors=interceptors, verify=False), socket)
    request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    processes: list[subprocess.Popen[bytes]] = []
    while True:
        processes = [process for process in processes if process.poll() is None]
        try:
            task = client.AcquireTask(request)
            if task.token:
                processes.append(_start_run(socket, task.token))
                continue
        except Exception as error:  # nobody else would start the next run
            _log.warning("no run can be started now (%s)", error)
        time.sleep(_LOOK)


def _start_run(socket: Path, token: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "shared.flower.program", SERVERAPP, str(socket)]
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        with os.fdopen(writing, "w") as pipe:
            pipe.write(token)
        return subprocess.Popen(command, stdin=stdin)  # noqa: S603  (this module)


class _SocketGrid(HttpGrid):
    """Flower's Grid of a run, over the socket."""

    socket: ClassVar[Path]

    def _connect(self) -> None:
        super()._connect()
        if self._client is not None:
            by_socket(self._client, self.socket)


def run(socket: Path) -> None:
    """Be the process of one run, whose token comes on standard input."""
    token = sys.stdin.readline().strip()
    _SocketGrid.socket = socket
    vars(sys.modules[run_serverapp.__module__])["HttpGrid"] = _SocketGrid
    output: Queue[str | None] = Queue()
    mirror_output_to_queue(output)
    run_serverapp(
        runtime_api_address=URL.removeprefix("http://"),
        log_queue=output,
        token=token,
        insecure=True,  # of TLS: there is none on a Unix socket
        parent_pid=os.getppid(),
        runtime_dependency_install=False,
    )
    restore_output()


if __name__ == "__main__":
    PROGRAMS: dict[str, Callable[[Path], None]] = {SUPERLINK: serve, SERVERAPP: run}
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]))
