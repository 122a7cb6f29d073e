"""A line between a site and its coordinator that can be cut, slow or long: a TCP port of this machine."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

_PIECE = 16 * 1024  # bytes forwarded at once: connections take turns on a slow line
_KERNEL = 64 * 1024  # bytes that the kernel keeps for a connection: a slow line must not look fast
_QUEUE = 64  # pieces under way on a long line, each way of a connection


class Line:
    """Forwards connections from a port of its own, in a thread; a context manager.

    While it is cut nothing passes, and nothing is told to either end: what was sent waits, as in TCP.

    Args:
        host: Where connections go to.
        port: The port there.

    Attributes:
        port: To connect to, on 127.0.0.1.
        rate: Bytes per second each way, shared by all connections; None is as fast as it goes.
        delay: Seconds that each way takes.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.rate: float | None = None
        self.delay = 0.0
        self._free = {"out": 0.0, "back": 0.0}  # when the line has carried all that it was given
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL)
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Let nothing pass from now on."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def _serve(self) -> None:
        carrying: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._carry(reader, writer))
            carrying.add(task)
            task.add_done_callback(carrying.discard)

        server = await asyncio.start_server(connected, sock=self._listener, limit=_PIECE)
        await self._end.wait()
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both ends have closed it, or one has broken it off."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL)
        sock.setblocking(False)
        writers = [writer]
        try:
            await self._whole.wait()
            await self._loop.sock_connect(sock, self._target)
            far_reader, far_writer = await asyncio.open_connection(sock=sock, limit=_PIECE)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._one_way("out", reader, far_writer))
                ways.create_task(self._one_way("back", far_reader, writer))
        except* OSError:
            pass  # one end has broken it off: the other one learns it by the closing
        finally:
            for one in writers:
                one.transport.abort()
            sock.close()

    async def _one_way(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._send(pieces, way, writer))
            piece = b"-"
            while piece:
                piece = await reader.read(_PIECE)
                await pieces.put((self._loop.time() + self.delay, piece))

    async def _send(
        self, pieces: asyncio.Queue[tuple[float, bytes]], way: str, writer: asyncio.StreamWriter
    ) -> None:
        """Hand on each piece when it is due; an empty one ends the way."""
        while True:
            due, piece = await pieces.get()
            if self.rate is not None:
                self._free[way] = max(self._free[way], self._loop.time()) + len(piece) / self.rate
                due = max(due, self._free[way] + self.delay)
            await asyncio.sleep(due - self._loop.time())
            await self._whole.wait()
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
