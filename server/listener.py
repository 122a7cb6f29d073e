"""A TLS listener of uvicorn that drops whoever is slow, silent or too many, before and after the handshake.

uvicorn opens its port with the event loop's own `create_server`, which waits a minute for a handshake, tells
nobody why one failed and counts nothing. So connections are accepted here and handed to uvicorn's protocol.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.audit_trail import AuditTrail
from server.limits import Limits
from server.peer import Peer

log = logging.getLogger(__name__)


def _less(counts: Counter[Any], key: Any) -> None:
    """Count one less, and forget a key at zero."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, with a deadline for each request's head and a count for each peer.

    The peer's certificate is in the scope as `scope["state"]["peer"]`, a `Peer` or `None`. h11 and not
    httptools: it refuses what is ambiguous.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        app_state: uvicorn's.
        limits: The listener's.
        crowd: Connections of each peer, shared by the listener's connections.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        limits: Limits,
        crowd: Counter[bytes],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._crowd = crowd
        self._owner: bytes | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless its peer has too many."""
        super().connection_made(transport)
        try:
            peer = self._peer()
        except ValueError as error:
            log.warning("connection refused: %s", error)
            transport.abort()
            return
        owner = peer.node_key if peer else str(self.client and self.client[0]).encode()
        if self._crowd[owner] >= self._limits.connections_each:
            log.warning("connection refused: its peer has %d already", self._crowd[owner])
            transport.abort()
            return
        self._owner = owner
        self._crowd[owner] += 1
        self.app_state = {**self.app_state, "peer": peer}
        self._time_head()

    def _peer(self) -> Peer | None:
        der = self.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Peer.of(der) if der else None

    def data_received(self, data: bytes) -> None:
        """Take what came, and start or stop the clock for a request's head."""
        super().data_received(data)
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_timer()
        if self._owner is not None:
            _less(self._crowd, self._owner)
            self._owner = None

    def _time_head(self) -> None:
        awaiting = self.cycle is None or self.cycle.response_complete
        if not awaiting:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_s, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Door:
    """Accepts connections and does their handshakes; what uvicorn takes for an `asyncio.Server`.

    Args:
        sock: A listening socket.
        context: TLS.
        make: Makes the protocol of a connection.
        limits: The listener's.
        count: Says how many connections are open.
        trail: Told about handshakes that failed.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        make: Callable[[], GuardedProtocol],
        limits: Limits,
        count: Callable[[], int],
        trail: AuditTrail,
    ) -> None:
        self._socket = sock
        self._context = context
        self._make = make
        self._limits = limits
        self._count = count
        self._trail = trail
        self._shaking: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Take no more connections, and drop those that have not shaken hands."""
        for task in (self._accepting, *self._tasks):
            task.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return when nothing is under way."""
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:  # no file descriptors left, or the peer is gone already
                log.warning("a connection can't be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            host = address[0]
            open_now = self._count() + self._shaking.total()
            if open_now >= self._limits.connections or self._shaking[host] >= self._limits.handshakes_each:
                connection.close()
                continue
            self._shaking[host] += 1
            task = asyncio.create_task(self._shake_hands(connection, host))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, connection: socket.socket, host: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_s,
                ssl_shutdown_timeout=self._limits.goodbye_s,
            )
        except ssl.SSLCertVerificationError as error:
            self._trail.refused("handshake-refused", host, reason=error.verify_message)
        except ssl.SSLError as error:
            self._trail.refused(
                "handshake-refused", host, reason=(error.reason or "TLS").lower().replace("_", " ")
            )
        except (OSError, TimeoutError):
            log.debug("no handshake from %s", host)
        finally:
            _less(self._shaking, host)


class Listener(uvicorn.Server):
    """One port with TLS and an application behind it.

    Args:
        app: ASGI application.
        sock: A listening socket.
        context: TLS.
        limits: What a peer may take.
        trail: Told about handshakes that failed.
    """

    def __init__(
        self, app: Any, sock: socket.socket, context: ssl.SSLContext, limits: Limits, trail: AuditTrail
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.keep_alive_s,
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=limits.head_bytes,
            )
        )
        self._socket = sock
        self._context = context
        self._limits = limits
        self._trail = trail
        self._crowd: Counter[bytes] = Counter()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs several listeners in one process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await self.lifespan.startup()
        door = Door(
            self._socket,
            self._context,
            make=self._protocol,
            limits=self._limits,
            count=lambda: len(self.server_state.connections),
            trail=self._trail,
        )
        self.servers = [door]  # type: ignore[list-item]
        self.started = True

    def _protocol(self) -> GuardedProtocol:
        return GuardedProtocol(self.config, self.server_state, self.lifespan.state, self._limits, self._crowd)
