"""Flower's SuperLink as a process of its own on loopback: started, watched, restarted, never left over.

It keeps nodes, runs and what is under way in memory: a database costs each round more than the network does.
What must outlive it is in the registry and in the folders of runs.

It offers its fleet, control and runtime interfaces on one port, and whoever reaches the port may submit code.
So it listens on 127.0.0.1 only; `server/gateway.py` is what others reach.
"""

import asyncio
import fcntl
import logging
import os
import random
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc.aio
import httpx
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from server.files import write_atomic
from server.loopback_tls import LOOPBACK, LoopbackTls
from shared.errors import WardroundError
from shared.flower.control import Control, NodeInfo
from shared.memory import BLOCK

log = logging.getLogger(__name__)

PROGRAM = Path(sys.executable).with_name("flower-superlink")
SHIM = Path(__file__).with_name("die_with_parent.py")
Answer = TypeVar("Answer")
NO_PROXY = [("grpc.enable_http_proxy", 0)]
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
        misses: Checks in a row that may fail before the process is replaced.
        stop: From the request to stop to the kill.
        first_pause: Before the first restart; doubles with each one that fails, up to `longest_pause`.
        longest_pause: Longest time between two starts.
        launches: Starts that may fail before the first one that succeeds; then the coordinator gives up.
    """

    start: float = 60.0
    check: float = 1.0
    answer: float = 5.0
    misses: int = 3
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

    Args:
        folder: Its keys and logs; made when it is missing.
        patience: Times to wait.

    Raises:
        SuperLinkError: On entering: it does not start, or another coordinator uses the folder.
    """

    def __init__(self, folder: Path, patience: Patience | None = None) -> None:
        self.folder = folder
        self.url = ""
        self.starts = 0
        self.pid: int | None = None
        self._patience = patience or Patience()
        self._healthy = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        self._told_url.unlink(missing_ok=True)
        try:
            self._tls = LoopbackTls.create(self.folder)
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

    @property
    def tls(self) -> LoopbackTls:
        """What a client on this machine needs to reach it."""
        return self._tls

    @property
    def _told_url(self) -> Path:
        """The file that says to other processes of this machine where the SuperLink is now."""
        return self.folder / "url"

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
            with Control(self.url, self._tls.context) as control:
                return question(control)

        try:
            return await asyncio.to_thread(ask)
        except httpx.HTTPError as error:
            raise SuperLinkError(
                f"Flower's SuperLink did not do what it was asked ({error})",
                where=self.folder / "superlink.log",
            ) from None

    def _lock(self) -> None:
        """Keep a second coordinator from using the same folder."""
        file = self._stack.enter_context((self.folder / "lock").open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            process, health = await self._launch()
            try:
                reason, was_healthy = await self._watch(process, health)
            finally:
                self._healthy.clear()
                await self._end(process)
            served = served or was_healthy
            failures = 1 if was_healthy else failures + 1
            if not served and failures == self._patience.launches:
                raise SuperLinkError(
                    f"Flower's SuperLink {reason}",
                    where=self.folder / "console.log",
                    remedy="Its last lines say why it does not start.",
                )
            pause = self._patience.pause(failures)
            log.error("SuperLink %s; starting it again in %.1f s", reason, pause)
            await asyncio.sleep(pause)

    async def _launch(self) -> tuple[asyncio.subprocess.Process, str]:
        port, health_port = _free_ports(2)
        health = f"{LOOPBACK}:{health_port}"
        self.url = f"https://{LOOPBACK}:{port}"
        self.starts += 1
        console_log = self.folder / "console.log"
        if console_log.exists():
            console_log.replace(self.folder / "console.1.log")
        with console_log.open("w") as console:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", SHIM, str(os.getpid()), PROGRAM),
                *self._arguments(port, health),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=self._environment(),
                cwd=self.folder,
            )
        self.pid = process.pid
        return process, health

    def _arguments(self, port: int, health: str) -> list[str]:
        certificate = str(self._tls.certificate.resolve())
        return [
            *("--host", LOOPBACK, "--port", str(port), "--health-server-address", health),
            *("--ssl-ca-certfile", certificate, "--ssl-certfile", certificate),
            *("--ssl-keyfile", str(self._tls.key.resolve())),
            *("--log-file", "superlink.log"),  # no --database: its state stays in memory
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]

    def _environment(self) -> dict[str, str]:
        """Keep the SuperLink from calling home, and let it find its own programs.

        It and the processes of runs talk to each other on loopback alone: never through a proxy.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FLWR_") and name.lower() not in PROXIES
        }
        return {
            **kept,
            "FLWR_HOME": str(self.folder.resolve() / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "MALLOC_MMAP_THRESHOLD_": str(BLOCK),  # in the processes of runs too, see `shared.memory`
            "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    async def _watch(self, process: asyncio.subprocess.Process, health: str) -> tuple[str, bool]:
        """Return why the process has to be replaced, and whether it ever served."""
        patience = self._patience
        started = asyncio.get_running_loop().time()
        seen, misses = False, 0
        ended = asyncio.create_task(process.wait())
        async with (
            grpc.aio.insecure_channel(health, options=NO_PROXY) as channel,
            httpx.AsyncClient(verify=self._tls.context, trust_env=False, timeout=patience.answer) as client,
        ):
            while not ended.done():
                if await self._serves(HealthStub(channel), client):
                    if not seen:
                        write_atomic(self._told_url, self.url.encode())
                    seen, misses = True, 0
                    self._healthy.set()
                else:
                    misses += seen
                    self._healthy.clear()
                if misses >= patience.misses:
                    return "does not answer", seen
                if not seen and asyncio.get_running_loop().time() - started > patience.start:
                    return f"did not serve within {patience.start:.0f} s", seen
                await asyncio.wait({ended}, timeout=patience.check if seen else 0.1)
        return f"ended with status {ended.result()}", seen

    async def _serves(self, stub: HealthStub, client: httpx.AsyncClient) -> bool:
        """Ask both: Flower's gRPC health service answers before, and independently of, its HTTP server."""
        try:
            answer = await stub.Check(HealthCheckRequest(), timeout=self._patience.answer)
            response = await client.head(f"{self.url}/health")
        except (grpc.aio.AioRpcError, httpx.HTTPError):
            return False
        return answer.status == HealthCheckResponse.SERVING and response.is_success

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
        self._told_url.unlink(missing_ok=True)


def is_running(superlink: Path) -> bool:
    """Say if a coordinator is at work in the folder of a SuperLink: it holds a lock there."""
    try:
        handle = os.open(superlink / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now; if one is taken meanwhile, the next start has others."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]
