"""A bell between the gateway and the round loop, which are two processes on one machine.

It says "look now" in both directions: sites hear of new messages, and the round loop of new answers, when
they are there, not when a clock says so. Who misses it finds out a little later. The round loop also says
on it how large the answers are that it waits for; that holds as long as its connection does.
"""

import asyncio
import contextlib
import json
import os
import select
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from server.gateway.expected_answers import Allowances

BELL = "WARDROUND_BELL"
"""Environment variable of the coordinator: the path of the bell's socket."""

_RING = b"\n"  # an empty line; others are JSON, see `Rope.expect`
_LONGEST = 2**22  # bytes of a line
_TELL_S = 10.0  # in which the gateway, a process on the same machine, must take a line


class Bell:
    """The gateway's end, in the gateway's event loop.

    Attributes:
        rings: How often it has rung; who remembers the number knows if something was missed.
        allowances: What the round loops wait for.
    """

    def __init__(self) -> None:
        self.rings = 0
        self.allowances = Allowances()
        self._rung = asyncio.Event()
        self._listeners: set[asyncio.StreamWriter] = set()

    @property
    def is_heard(self) -> bool:
        """Whether a round loop listens."""
        return bool(self._listeners)

    def answered(self) -> None:
        """Tell the round loops that a site has brought something."""
        for listener in self._listeners:
            listener.write(_RING)

    async def wait(self, rings: int, seconds: float) -> None:
        """Return once a round loop has rung since `rings`, at the latest after some seconds.

        Where no round loop runs, nobody would ring: then at once.
        """
        if not self.is_heard:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.rings == rings:
                    await self._rung.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._listeners.add(writer)
        try:
            while line := await reader.readline():
                if line == _RING:
                    self._ring()
                else:
                    self.allowances.allow(writer, **json.loads(line))
        except (
            ConnectionError,
            asyncio.CancelledError,
        ):  # the coordinator stops: Python would log a traceback
            return
        finally:
            self.allowances.end(writer)
            self._listeners.discard(writer)
            writer.close()

    def _ring(self) -> None:
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()


@asynccontextmanager
async def hang_bell() -> AsyncIterator[Bell]:
    """Offer a bell, and tell processes started from now on where it is.

    It hangs in a folder of its own that only this user can enter: a socket's path must be short.
    """
    bell = Bell()
    with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
        path = Path(folder) / "bell"
        async with await asyncio.start_unix_server(bell._serve, path, limit=_LONGEST):
            os.environ[BELL] = str(path)
            try:
                yield bell
            finally:
                del os.environ[BELL]


class Rope:
    """The round loop's end; without a bell, or when it is gone, waiting is all that it does."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        path = os.environ.get(BELL)
        if path is None:
            return
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self.close()
        else:
            self._socket.setblocking(False)

    @property
    def hangs(self) -> bool:
        """Whether there is a bell at the other end."""
        return self._socket is not None

    def expect(self, largest: int, questions: Mapping[str, Sequence[str]]) -> None:
        """Tell the gateway what to take, in place of what it took before.

        Args:
            largest: Bytes of the largest answer.
            questions: Flower's identities of the messages to each site.
        """
        if self._socket is not None:
            self._socket.settimeout(_TELL_S)
            try:
                self._socket.sendall(_line(largest=largest, questions=questions))
                self._socket.setblocking(False)
            except OSError:  # gone, or stuck for seconds: sites are refused until the run is resumed
                self.close()

    def pull(self) -> None:
        """Tell the sites that messages are there; what was heard before was about other ones."""
        self._listen()
        if self._socket is not None:
            with contextlib.suppress(BlockingIOError):
                try:
                    self._socket.send(_RING)
                except ConnectionError:
                    self.close()

    def wait(self, seconds: float) -> None:
        """Return once a site has brought something, at the latest after some seconds."""
        select.select([] if self._socket is None else [self._socket], [], [], seconds)
        self._listen()

    def _listen(self) -> None:
        """Take in what has rung, without waiting for it."""
        if self._socket is None:
            return
        try:
            if not self._socket.recv(4096):
                self.close()
        except BlockingIOError:
            return
        except ConnectionError:
            self.close()

    def close(self) -> None:
        """Let go of the bell: nothing is waited for any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _line(**content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"
