"""Flower's SuperLink as a process of its own: started, watched, restarted, never left over.

It keeps nodes, runs and what is under way in memory: a database costs each round more than the network does.
What must outlive it is in the registry and in the folders of runs.

It offers its fleet, control and runtime interfaces in one place, and whoever reaches them may submit code. So
it listens on a Unix socket in a folder that only the coordinator's user can enter, and on no port;
`server/gateway/gateway.py` is what others reach.
"""

import asyncio
import logging
import os
import random
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from shared.errors import WardroundError
from shared.files import READABLE, Lock, is_locked, replace_file
from shared.flower.control import Control, NodeInfo
from shared.flower.local import URL
from shared.memory import BLOCK
from shared.wire.unix_socket import TRUSTS_NOBODY, socket_address

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "shared.flower.program", "flower-superlink")
APPS = ("server.rounds.server_app", "server.rounds.waiting_app")  # what the process of a run imports
SHIM = Path(__file__).with_name("die_with_parent.py")
CONSOLE, CONSOLE_BEFORE = "console.log", "console.1.log"  # what it and the processes of runs say
LONGEST_LOG = 8 * 2**20  # bytes
TOLD = "listens"  # file that says to other processes of this user where the SuperLink is now
KEPT_BACK = ("FLWR_", "WARDROUND_CA_", "CREDENTIALS_DIRECTORY")
"""Environment variables that neither it nor a run gets, by their beginnings."""

Answer = TypeVar("Answer")
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"}
JITTER = random.SystemRandom()  # restarts of several services must not fall together


class SuperLinkError(WardroundError):
    """The SuperLink can't be started or reached."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the supervisor waits for what, in seconds.

    Attributes:
        start: From the start of the process to its first sign of health.
        check: Between two looks at a healthy process.
        answer: For one answer to a health check.
        misses: Checks in a row that may fail before the process is replaced, with all its runs: on a machine
            where others take the processors an answer may take a minute.
        stop: From the request to stop to the kill.
        first_pause: Before the first restart; doubles with each one that fails, up to `longest_pause`.
        longest_pause: Longest time between two starts.
        launches: Starts that may fail before the first one that succeeds; then the coordinator gives up.
    """

    start: float = 60.0
    check: float = 1.0
    answer: float = 5.0
    misses: int = 12
    stop: float = 10.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    launches: int = 3

    def pause(self, failures: int) -> float:
        """Return the time before the next start: exponential, with "full jitter" over its upper half."""
        longest = min(self.longest_pause, self.first_pause * 2 ** (failures - 1))
        return longest * JITTER.uniform(0.5, 1.0)


class SuperLink:
    """The supervised process; use it as an asynchronous context manager on the main thread's loop.

    Attributes:
        folder: Its socket and logs.
        socket: Where it listens; every start has another one.
        url: For requests that `transport` carries.
        starts: How often it was started.
        pid: Of the process; None while there is none.

    Args:
        folder: Its socket and logs; made when it is missing.
        patience: Times to wait.

    Raises:
        SuperLinkError: On entering: it does not start, or another coordinator uses the folder.
    """

    def __init__(self, folder: Path, patience: Patience | None = None) -> None:
        self.folder = folder
        self.socket = folder / "none.sock"
        self.url = URL
        self.starts = 0
        self.pid: int | None = None
        self._patience = patience or Patience()
        self._healthy = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # nothing else keeps other users of this machine out
        self._lock()
        try:
            self._forget_sockets()
            self._keeper = asyncio.create_task(self._keep(), name="superlink")
            self._stack.push_async_callback(self._stop)
            healthy = asyncio.create_task(self._healthy.wait())
            await asyncio.wait({self._keeper, healthy}, return_when=asyncio.FIRST_COMPLETED)
            healthy.cancel()
            if self._keeper.done():
                await self._keeper
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def healthy(self) -> bool:
        """Whether the last look found it serving."""
        return self._healthy.is_set()

    def transport(self, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
        """Return what carries requests to wherever it listens now; their host does not matter."""
        return _Following(lambda: self.socket, limits)

    async def wait_healthy(self) -> None:
        """Return once it serves."""
        await self._healthy.wait()

    async def keep(self) -> None:
        """Go on as long as the supervision does.

        Raises:
            SuperLinkError: It gave up.
        """
        await asyncio.shield(self._keeper)

    async def register_node(self, public_key: str, name: str) -> int:
        """Let a site's node take part and return Flower's number of it, see `Control.register_node`."""
        return await self._ask(lambda control: control.register_node(public_key, name))

    async def unregister_node(self, node_id: int) -> None:
        """Refuse a node from now on."""
        await self._ask(lambda control: control.unregister_node(node_id))

    async def nodes(self) -> list[NodeInfo]:
        """Return the nodes that Flower knows, with their state."""
        return await self._ask(lambda control: control.nodes())

    async def _ask(self, question: Callable[[Control], Answer]) -> Answer:
        def ask() -> Answer:
            with Control(self.socket) as control:
                return question(control)

        try:
            return await asyncio.to_thread(ask)
        except httpx.ConnectError:
            raise SuperLinkError("Flower's SuperLink is not up now; it is being started") from None
        except httpx.HTTPError as error:
            raise SuperLinkError(
                f"Flower's SuperLink did not do what it was asked ({error})",
                where=self.folder / CONSOLE,
            ) from None

    def _lock(self) -> None:
        """Keep a second coordinator from using the same folder."""
        try:
            self._stack.enter_context(Lock(self.folder / "lock", wait=False))
        except BlockingIOError:
            raise SuperLinkError(
                "another coordinator runs in this folder",
                where=self.folder,
                remedy="Stop it first.",
            ) from None

    async def _keep(self) -> None:
        """Start the process again and again until cancelled."""
        failures, served = 0, False
        while True:
            try:
                reason, was_healthy = await self._serve_once()
            except OSError as error:  # a full disk, most often, on which there will be room again
                if not served:
                    raise SuperLinkError(
                        f"can't be written ({error.strerror or error})",
                        where=self.folder,
                        remedy="Make room or give the right to write, then start again.",
                    ) from None
                reason, was_healthy = f"can't write in {self.folder} ({error.strerror}): make room", False
            served = served or was_healthy
            failures = 1 if was_healthy else failures + 1
            if not served and failures == self._patience.launches:
                raise SuperLinkError(
                    f"Flower's SuperLink {reason}",
                    where=self.folder / CONSOLE,
                    remedy="Its last lines say why it does not start.",
                )
            pause = self._patience.pause(failures)
            log.error("SuperLink %s; starting it again in %.1f s", reason, pause)
            await asyncio.sleep(pause)

    async def _serve_once(self) -> tuple[str, bool]:
        """Start the process and return why it has to be replaced, and whether it ever served.

        Raises:
            OSError: A file of the folder can't be written.
        """
        process = await self._launch()
        try:
            return await self._watch(process)
        finally:
            self._healthy.clear()
            await self._end(process)

    async def _launch(self) -> asyncio.subprocess.Process:
        self._forget_sockets()
        # Another name each time: what is left of an earlier SuperLink must not find the next one.
        self.socket = self.folder / f"{secrets.token_hex(4)}.sock"
        self.starts += 1
        with open(self.folder / CONSOLE, "a", opener=_private) as console:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", SHIM, str(os.getpid()), *PROGRAM, self.socket.resolve(), *APPS),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=self._environment(),
                cwd=self.folder,
            )
        self.pid = process.pid
        return process

    def _rotate(self) -> None:
        """Begin the log anew where it has grown long; processes write into it that go on to, at its end."""
        console = self.folder / CONSOLE
        if console.stat().st_size > LONGEST_LOG:
            with suppress(OSError):  # of a full disk, which this makes room on
                shutil.copyfile(console, self.folder / CONSOLE_BEFORE)
            os.truncate(console, 0)

    def _forget_sockets(self) -> None:
        """Remove the sockets of earlier processes, and what said where they were."""
        for path in (*self.folder.glob("*.sock"), self.folder / TOLD):
            path.unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        """Keep the SuperLink from calling home, and secrets and proxies from it and its runs.

        It and the processes of runs talk to each other on this machine alone.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(KEPT_BACK) and name.lower() not in PROXIES
        }
        return {
            **kept,
            "FLWR_HOME": str(self.folder.resolve() / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "MALLOC_MMAP_THRESHOLD_": str(BLOCK),  # in the processes of runs too, see `shared.memory`
        }

    async def _watch(self, process: asyncio.subprocess.Process) -> tuple[str, bool]:
        """Return why the process has to be replaced, and whether it ever served."""
        patience = self._patience
        started = asyncio.get_running_loop().time()
        seen, misses = False, 0
        ended = asyncio.create_task(process.wait())
        transport = httpx.AsyncHTTPTransport(verify=TRUSTS_NOBODY, uds=socket_address(self.socket))
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=patience.answer) as client:
            while not ended.done():
                if await _serves(client):
                    if not seen:
                        replace_file(self.folder / TOLD, self.socket.name.encode(), READABLE)
                    seen, misses = True, 0
                    self._healthy.set()
                else:
                    misses += seen
                    self._healthy.clear()
                if misses >= patience.misses:
                    return "does not answer", seen
                if not seen and asyncio.get_running_loop().time() - started > patience.start:
                    return f"did not serve within {patience.start:.0f} s", seen
                self._rotate()
                await asyncio.wait({ended}, timeout=patience.check if seen else 0.1)
        return f"ended with status {ended.result()}", seen

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._patience.stop)
        except TimeoutError:
            process.kill()
            await process.wait()
        self.pid = None

    async def _stop(self) -> None:
        self._keeper.cancel()
        with suppress(asyncio.CancelledError, SuperLinkError):
            await self._keeper
        self._forget_sockets()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def is_running(superlink: Path) -> bool:
    """Say if a coordinator is at work in the folder of a SuperLink: it holds a lock there."""
    return is_locked(superlink / "lock")


async def _serves(client: httpx.AsyncClient) -> bool:
    try:
        response = await client.head(f"{URL}/health")
    except httpx.HTTPError:
        return False
    return response.is_success


class _Following(httpx.AsyncBaseTransport):
    """Carries requests to a socket that may be another one after a restart."""

    def __init__(self, where: Callable[[], Path], limits: httpx.Limits) -> None:
        self._where = where
        self._limits = limits
        self._to = Path()
        self._inner: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to where the socket is now."""
        if self._inner is None or self._to != self._where():
            self._to, retired = self._where(), self._inner
            self._inner = httpx.AsyncHTTPTransport(
                verify=TRUSTS_NOBODY, uds=socket_address(self._to), limits=self._limits
            )
            if retired is not None:
                await retired.aclose()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._inner is not None:
            await self._inner.aclose()


def socket_of(superlink: Path) -> Path:
    """Return where the SuperLink of a folder listens now.

    Raises:
        OSError: None runs there.
    """
    if not is_running(superlink):
        raise FileNotFoundError(superlink)
    return superlink / (superlink / TOLD).read_text(encoding="ascii")
