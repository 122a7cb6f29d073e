"""What a listener takes from a peer before it lets go: sizes, times and numbers, all in one place."""

import asyncio
from dataclasses import dataclass

KIB, MIB = 1024, 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one listener.

    Attributes:
        connections: Open connections in all.
        connections_each: Open connections of one site (by its key) or, without certificates, of one address.
        handshakes_each: TLS handshakes that one address may have under way.
        handshake_s: Seconds for a TLS handshake.
        goodbye_s: Seconds for the other side to close TLS.
        head_s: Seconds for a whole request line with its headers.
        head_bytes: Their size.
        idle_s: Seconds without a byte in either direction while a body is under way.
        grace_s: Seconds that any body may take; then it must keep up the least rate.
        least_rate: Bytes per second, averaged over the body.
        keep_alive_s: Seconds that a connection may wait for its next request.
        body_bytes: Size of a request's body.
        object_bytes: The same for an object of a message: Flower cuts arrays into pieces of 5 MiB.
    """

    connections: int = 1000
    connections_each: int = 16
    handshakes_each: int = 32
    handshake_s: float = 10.0
    goodbye_s: float = 2.0
    head_s: float = 10.0
    head_bytes: int = 16 * KIB
    idle_s: float = 30.0
    grace_s: float = 30.0
    least_rate: int = 4 * KIB
    keep_alive_s: int = 75
    body_bytes: int = 8 * MIB
    object_bytes: int = 64 * MIB


class Pace:
    """The time that a body may take: a pause too long, or too few bytes for the time so far, ends it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._bytes = 0

    def passed(self, count: int) -> None:
        """Take note of bytes that came or went."""
        self._bytes += count

    def wait(self) -> asyncio.Timeout:
        """Return a context in which the next bytes must pass, else it raises TimeoutError."""
        limits = self._limits
        in_all = self._start + limits.grace_s + self._bytes / limits.least_rate
        return asyncio.timeout_at(min(self._clock() + limits.idle_s, in_all))
