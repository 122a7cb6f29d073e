"""`[limits]`, `[retention]` in server.toml: what a listener takes of a peer, how many runs work, and stay."""

import asyncio

from pydantic import Field, PositiveFloat, PositiveInt

from shared.table import Table

KIB, MIB = 1024, 1024**2


class Limits(Table):
    """Limits of one listener; these are the sites'."""

    connections: PositiveInt = Field(1000, description="Open connections in all.")
    connections_each: PositiveInt = Field(
        16,
        description="Open connections of one site (by its key), of one person (by the token) or, of those "
        "who have shown neither, of one address (IPv6: of its /64).",
    )
    handshakes_each: PositiveInt = Field(
        32, description="TLS handshakes that one address (IPv6: its /64) may have under way."
    )
    handshake_s: PositiveFloat = Field(10.0, description="Seconds for a TLS handshake.")
    goodbye_s: PositiveFloat = Field(2.0, description="Seconds for the other side to close TLS.")
    head_s: PositiveFloat = Field(10.0, description="Seconds for a whole request line with its headers.")
    head_bytes: int = Field(16 * KIB, ge=KIB, description="Their size in bytes.")
    idle_s: PositiveFloat = Field(
        30.0, description="Seconds without a byte in either direction while a body is under way."
    )
    grace_s: PositiveFloat = Field(
        30.0, description="Seconds that any body may take; then it must keep up the least rate."
    )
    least_rate: PositiveInt = Field(4 * KIB, description="Bytes per second, averaged over the body.")
    keep_alive_s: PositiveInt = Field(
        75, description="Seconds that a connection may wait for its next request."
    )
    body_bytes: int = Field(8 * MIB, ge=64 * KIB, description="Size of a request's body in bytes.")
    object_bytes: int = Field(
        64 * MIB,
        ge=8 * MIB,
        description="The same for an object of a message: Flower cuts arrays into pieces of 5 MiB.",
    )


class PeopleLimits(Limits):
    """Limits of the people's listener: many may share one address."""

    connections: PositiveInt = Field(500, description="Open connections in all.")
    connections_each: PositiveInt = Field(64, description="Open connections of one person or address.")
    body_bytes: int = Field(1 * MIB, ge=64 * KIB, description="Size of a request's body in bytes.")


class RunLimits(Table):
    """How many runs may be at work at once; the others wait in the queue (`server/runs/places.py`)."""

    at_once: PositiveInt = Field(
        2, description="Runs at work; each takes about half a GB of memory, and some copies of its model."
    )
    each_person: PositiveInt = Field(1, description="Runs at work that one person has submitted.")
    each_project: PositiveInt = Field(2, description="Runs at work of one project.")
    each_site: PositiveInt = Field(
        2, description="Runs at work that may ask one site: it does what they ask one after the other."
    )
    waiting: PositiveInt = Field(
        8, description="Runs that may wait for their sites; they do not count as being at work."
    )
    queued_each: PositiveInt = Field(50, description="Runs that one person may have in the queue.")


class RetentionTable(Table):
    """`[retention]`: how long runs are kept that have ended; without a key, for good."""

    days: PositiveInt | None = Field(None, examples=[365], description="Days after its end.")
    gigabytes: PositiveFloat | None = Field(
        None,
        examples=[200.0],
        description="Room that the runs may take in all; beyond it the oldest that have ended go.",
    )


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
