"""How much comes over a connection of DIMSE, and how long: pynetdicom itself takes whatever is sent."""

import threading
import time
from collections.abc import Callable

from pynetdicom import evt

_LONGEST_PDU = 2**20  # bytes; ours says that it takes 16 KiB (PS3.8 D.1)
_PIECE = 2**16
_SILENCE = 60.0  # seconds


class Arrivals:
    """Ends connections over which too much comes, too long a unit, or anything too late.

    Args:
        seconds: From now on; then the connections end.
        most: Bytes that may have come and not be taken: a message that is not complete, or those that wait.
        clock: Seconds, from anywhere on.

    Attributes:
        problem: Why a connection was ended; empty where none was.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ends, self._most, self._clock = clock() + seconds, most, clock
        self._lock, self._waiting = threading.Lock(), 0
        self.problem = ""

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self._clock() > self._ends

    def taken(self, count: int) -> None:
        """Take note of bytes that no longer wait in memory."""
        with self._lock:
            self._waiting = max(0, self._waiting - count)

    def watch(self, event: evt.Event) -> None:
        """Bound what is received over a connection: a handler of `EVT_CONN_OPEN`, before anything was."""
        outer = event.assoc.dul.socket
        outer.socket.settimeout(_SILENCE)
        outer.recv = lambda count: self._received(outer.socket.recv, count)

    def refuse(self, event: evt.Event) -> None:
        """Receive nothing over a connection, which ends it."""
        event.assoc.dul.socket.recv = self._nothing

    def _nothing(self, _: int) -> bytearray:
        raise OSError("nothing is received from there")

    def _received(self, receive: Callable[[int], bytes], count: int) -> bytearray:
        """Return at most that many bytes, or fewer where the connection has ended.

        Raises:
            OSError: The connection is to end, as if it had been cut.
        """
        found = bytearray()
        with self._lock:
            self._waiting += count
        if count > _LONGEST_PDU or self._waiting > self._most:
            self._end("sends what has no end")
        while len(found) < count:
            if self.is_late:
                self._end("was too slow, and was given up")
            piece = receive(min(_PIECE, count - len(found)))
            if not piece:
                break
            found += piece
        return found

    def _end(self, problem: str) -> None:
        self.problem = self.problem or problem
        raise OSError(problem)
