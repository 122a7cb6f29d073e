"""A real federation on one machine: a coordinator and hospitals as processes of their own.

Each has its own folder, certificate and data, and they talk over mutual TLS on loopback. `make federation`
shows it, the tests kill parts of it, and the benchmarks measure it.
"""

import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from client.data.manifest.splits import CohortKey
from client.settings.cohort_key import NAME
from client.settings.enrolment import enrol
from server.audit.log import operator_audit
from server.folder.coordinator import ServerTable, found, join_string, load_settings
from server.registry.access import open_registry
from server.runs.local import Coordinator, open_coordinator
from server.superlink.superlink import socket_of
from shared.errors import RunError
from shared.files import Lock
from shared.flower.control import Control
from shared.pki.certificates import write_file
from shared.pki.join_string import Join
from simulate.session.setup import OPEN_POLICY

PROJECT = Path(__file__).parents[2]
_READY = 300.0  # seconds in which a process must be ready
_END = 15.0  # seconds in which a process must end when asked to
_LOOK = 0.1
_PORTS = range(20_000, 32_000)  # Linux gives those from 32768 on to connections
_locks: list[Lock] = []  # of the ports that this process has taken


class LocalFederation:
    """Starts and ends the processes; a context manager.

    Args:
        folder: Holds the folders of the coordinator (`coordinator/`) and of each site.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        coordinator = self.folder / "coordinator"
        if not (coordinator / "server.toml").exists():
            sites_port, people_port = free_ports(2)
            settings = ServerTable(
                name="local", host="127.0.0.1", sites_port=sites_port, people_port=people_port
            )
            found(coordinator, settings, None)
        try:
            self.start_coordinator()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_coordinator(self) -> None:
        """Start the coordinator's service and wait until it takes connections.

        Raises:
            RunError: It ended, or was not ready in time.
        """
        folder = self.folder / "coordinator"
        self._start("coordinator", "wardround", "server", "start", "--dir", str(folder))
        self._await("coordinator", self._is_open)

    @property
    def superlink(self) -> Path:
        """Where the SuperLink listens now."""
        return socket_of(self.folder / "coordinator" / "superlink")

    def runs(self) -> Coordinator:
        """Return the coordinator's runs."""
        folder = self.folder / "coordinator"
        return open_coordinator(folder, operator_audit(folder))

    def enrol(self, name: str, datasets: Mapping[str, Path], *, seed: int | None = None) -> Path:
        """Let a site join: its folder, key and certificate; returns the folder.

        Its policy is as open as that of the hospitals of a simulation, since nobody's patients are here.

        Args:
            name: Of the site.
            datasets: Manifest of each dataset; with a column `site`, the site gets the rows with its name.
            seed: Of a job: the patients are split as in its simulation. None: with a key of the site's own.
        """
        coordinator, folder = self.folder / "coordinator", self.folder / name
        with open_registry(coordinator) as registry:
            token = registry.invite(name)
        self.join(join_string(coordinator, name, token), folder)
        lines = []
        for dataset, manifest in datasets.items():
            lines += [f"[datasets.{dataset}]", f'manifest = "{manifest.resolve()}"', f'site = "{name}"']
        site_file = folder / "site.toml"
        text = site_file.read_text(encoding="utf-8")
        opened = [
            f"{key} = {json.dumps(value)}"
            for key, value in OPEN_POLICY.model_dump(exclude_defaults=True).items()
        ]
        # Nobody is there to approve, and the hospitals are the caller's own.
        policy = ['approval = "automatic"', 'figures_for = "project"', *opened]
        text = text.replace("\n[policy]\n", "\n".join(["\n[policy]", *policy, ""]))
        if seed is not None:
            write_file(folder / "keys" / NAME, CohortKey.drawn(seed).secret)
        site_file.write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return folder

    def join(self, invitation: Join, folder: Path) -> None:
        """Let a site that is invited join over the network."""
        enrol(invitation, folder)

    @property
    def sites_port(self) -> int:
        """Port of the gateway's listener for sites."""
        return load_settings(self.folder / "coordinator").server.sites_port

    def reroute(self, name: str, port: int) -> None:
        """Let a site reach the coordinator through another port of this machine, such as a `Line`'s."""
        site_file = self.folder / name / "site.toml"
        text = site_file.read_text(encoding="utf-8")
        site_file.write_text(
            re.sub(r"(?m)^coordinator = .*$", f'coordinator = "127.0.0.1:{port}"', text), encoding="utf-8"
        )

    def start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a site's service without waiting for it."""
        return self._start(name, "wardround", "client", "start", "--dir", str(self.folder / name), *options)

    def await_sites(self) -> None:
        """Wait until every site that was started is online.

        Raises:
            RunError: One ended, or is not online in time.
        """
        for name in self.processes:
            if name != "coordinator":
                self._await(name, lambda name=name: name in self._online())  # type: ignore[misc]

    def await_online(self, names: set[str]) -> None:
        """Wait until sites are online that run elsewhere.

        Raises:
            RunError: They are not in time.
        """
        self._await("coordinator", lambda: names <= self._online())

    def is_online(self, name: str) -> bool:
        """Say whether a site is online."""
        return name in self._online()

    def _is_open(self) -> bool:
        """Say if the coordinator takes connections, the last thing that it begins with."""
        port = load_settings(self.folder / "coordinator").server.people_port
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _online(self) -> set[str]:
        with Control(self.superlink) as control:
            return {node.name for node in control.nodes() if node.status == "online"}

    def stop(self, name: str) -> None:
        """End one process."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End all processes, the sites first."""
        for name in reversed(list(self.processes)):
            self.stop(name)

    def log(self, name: str) -> str:
        """Return what a process has logged."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  (this project's own modules)
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )
        self.processes[name] = process
        return process

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _READY
        while not ready():
            if self.processes[name].poll() is not None or time.monotonic() > end:
                raise RunError(
                    "ended or was not ready in time",
                    where=name,
                    remedy="\n".join(self.log(name).splitlines()[-20:]),
                )
            time.sleep(_LOOK)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback on which nobody listens, each for this process alone until it ends.

    None of them is one that the system gives to a connection, so it is still free when it is listened on.
    """
    folder = Path(tempfile.gettempdir()) / f"wardround-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    first = secrets.randbelow(len(_PORTS))
    in_turn = (_PORTS[(first + number) % len(_PORTS)] for number in range(len(_PORTS)))
    return list(itertools.islice((port for port in in_turn if _is_taken(port, folder)), count))


def _is_taken(port: int, folder: Path) -> bool:
    """Take a port; say whether that went."""
    try:
        lock = Lock(folder / str(port), wait=False)
    except BlockingIOError:  # of another process, or of an earlier call
        return False
    _locks.append(lock)
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False
