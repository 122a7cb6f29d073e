"""A TLS listener of uvicorn that drops whoever is slow, silent or too many, before and after the handshake.

uvicorn opens its port with the event loop's own `create_server`, which waits a minute for a handshake, tells
nobody why one failed and counts nothing. So connections are accepted here and handed to uvicorn's protocol.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.audit.trail import AuditTrail
from server.folder.limits import Limits
from server.gateway.client_certificate import Peer
from server.gateway.connection_slots import Place, Places

log = logging.getLogger(__name__)

_NO_FILES = (errno.EMFILE, errno.ENFILE)


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, with a deadline for each request's head and a place at the listener.

    The peer's certificate is in the scope as `scope["state"]["peer"]`, a `Peer` or `None`, and
    `scope["state"]["claim"]` tells the listener who calls where there is no certificate. h11 and not
    httptools: it refuses what is ambiguous.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        app_state: uvicorn's.
        places: The listener's.
        place: Of this connection.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Any,
        app_state: dict[str, Any],
        places: Places,
        place: Place,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._places = places
        self._place = place
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless its site has too many."""
        super().connection_made(transport)
        self._place.drop = transport.abort
        if self._place.is_left:  # sent away at the last moment
            transport.abort()
            return
        self._places.open(self._place)
        try:
            peer = self._peer()
        except ValueError as error:
            log.debug("connection refused: %s", error)
            transport.abort()
            return
        if peer and not self._places.claim(self._place, peer.node_key):
            log.debug("connection refused: its site has too many already")
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer": peer, "claim": self._claim}
        self._time_head()

    def _claim(self, owner: str | None) -> None:
        self._places.claim(self._place, None if owner is None else owner.encode())

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
        self._places.leave(self._place)

    def on_response_complete(self) -> None:
        """Take the next request."""
        self._places.answered(self._place)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, also in the middle of a request that the application answers."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        super().send_400_response(msg)

    def _time_head(self) -> None:
        awaiting = self.cycle is None or self.cycle.response_complete
        if not awaiting:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._places.limits.head_s, self.transport.abort)

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
        places: The listener's.
        trail: Told about handshakes that failed.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        make: Callable[[Place], GuardedProtocol],
        places: Places,
        trail: AuditTrail,
    ) -> None:
        self._socket = sock
        self._context = context
        self._make = make
        self._places = places
        self._trail = trail
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
            except OSError as error:
                log.warning("a connection can't be accepted: %s", error)
                if error.errno in _NO_FILES:
                    self._places.make_room()
                await asyncio.sleep(0.1)
                continue
            place = self._places.take(address[0])
            task = asyncio.create_task(self._shake_hands(connection, address[0], place))
            place.drop = task.cancel
            self._tasks.add(task)
            task.add_done_callback(partial(self._shaken, connection, place))

    async def _shake_hands(self, connection: socket.socket, host: str, place: Place) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(self._make, place),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._places.limits.handshake_s,
                ssl_shutdown_timeout=self._places.limits.goodbye_s,
            )
        except ssl.SSLCertVerificationError as error:
            self._trail.refused("handshake-refused", host, reason=error.verify_message)
        except ssl.SSLError as error:
            self._trail.refused(
                "handshake-refused", host, reason=(error.reason or "TLS").lower().replace("_", " ")
            )
        except (OSError, TimeoutError):
            log.debug("no handshake from %s", host)

    def _shaken(self, connection: socket.socket, place: Place, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            connection.close()  # it may not even have begun
        if not place.is_open:
            self._places.leave(place)


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
        self._trail = trail
        self._places = Places(limits, self._shed)

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
            places=self._places,
            trail=self._trail,
        )
        self.servers = [door]  # type: ignore[list-item]
        self.started = True

    def _protocol(self, place: Place) -> GuardedProtocol:
        state = self.lifespan.state
        return GuardedProtocol(self.config, self.server_state, state, self._places, place)

    def _shed(self, network: str) -> None:
        self._trail.refused("connection-dropped", network.partition("/")[0], reason="places are needed")
